"""Test losses against values worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from afdctl.losses import (
    GAMES,
    L_C,
    boosting_term,
    gradient_penalty,
    hard_labels,
    kl_divergence,
    logit_pairing,
    sensitivity,
    squared_distance,
    squared_error,
    weighted_kl,
    with_margin,
)

NAT, ADV = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 3.0])


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_L_C_is_eq_7():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    expected = -(math.log(1 / 2) + math.log(3 / 4)) / 2
    assert L_C(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_L_C_of_smoothed_and_of_mixed_labels():
    logits = torch.tensor([[0.0, 0.0, math.log(2)]])
    plain = [math.log(4), math.log(4), math.log(2)]
    smoothed = 0.7 * plain[2] + 0.1 * sum(plain)
    assert L_C(logits, torch.tensor([2]), smoothing=0.3).item() == pytest.approx(smoothed)
    mixed = torch.tensor([[0.25, 0.0, 0.75]])
    assert L_C(logits, mixed).item() == pytest.approx(0.25 * plain[0] + 0.75 * plain[2])
    both = 0.7 * (0.25 * plain[0] + 0.75 * plain[2]) + 0.1 * sum(plain)
    assert L_C(logits, mixed, smoothing=0.3).item() == pytest.approx(both)


def test_mixed_labels_count_as_the_class_of_the_larger_part():
    assert hard_labels(torch.tensor([2, 0])).tolist() == [2, 0]
    assert hard_labels(torch.tensor([[0.1, 0.6, 0.3]])).tolist() == [1]


@pytest.mark.parametrize(
    ("game", "L_D", "L_F"),
    [
        ("dcgan", (softplus(-2) + softplus(1)) / 2 + (softplus(0) + softplus(3)) / 2, (softplus(0) + softplus(-3)) / 2),
        ("wgan", -(2 - 1) / 2 + (0 + 3) / 2, -(0 + 3) / 2),
        ("hinge", (0 + 2) / 2 + (1 + 4) / 2, -(0 + 3) / 2),
    ],
)
def test_games(game: str, L_D: float, L_F: float):
    assert GAMES[game].L_D(NAT, ADV).item() == pytest.approx(L_D)
    assert GAMES[game].L_F(ADV).item() == pytest.approx(L_F)


@pytest.mark.parametrize("game", GAMES)
def test_the_players_pull_apart(game: str):
    """Descending L_D raises natural scores and lowers adversarial ones; descending L_F raises adversarial ones."""
    nat, adv = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    of_nat, of_adv = torch.autograd.grad(GAMES[game].L_D(nat, adv), (nat, adv))
    (of_F,) = torch.autograd.grad(GAMES[game].L_F(adv), adv)
    assert of_nat < 0 < of_adv
    assert of_F < 0


def test_gradient_penalty_of_a_linear_critic():
    weights = torch.tensor([3.0, 4.0], requires_grad=True)  # slope 5 everywhere

    def critic(z: Tensor) -> Tensor:
        return z @ weights

    penalty = gradient_penalty(critic, torch.rand(6, 2), torch.rand(6, 2), torch.rand(6, 1))
    assert penalty.item() == pytest.approx((5 - 1) ** 2)
    (gradient,) = torch.autograd.grad(penalty, weights)
    assert gradient.tolist() == pytest.approx([2 * 4 * 3 / 5, 2 * 4 * 4 / 5])  # 2 (|w| - 1) w / |w|


def test_gradient_penalty_looks_between_the_features():
    """The critic z^2 / 2 has slope |z|: at a quarter of the way from z' = 3 to z = 1 it is 2.5."""
    share = torch.full((4, 1), 0.25)
    penalty = gradient_penalty(lambda z: z.square().sum(1) / 2, torch.ones(4, 1), torch.full((4, 1), 3.0), share)
    assert penalty.item() == pytest.approx(1.5**2)


def test_kl_divergence():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert kl_divergence(p.log(), q.log()).item() == pytest.approx(expected)
    assert kl_divergence(p.log(), p.log() + 7).item() == pytest.approx(0, abs=1e-6)


def test_sensitivity_is_the_mean_distance():
    assert sensitivity(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.zeros(2, 2)).item() == pytest.approx((5 + 1) / 2)


P = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])


def test_boosting_term_is_of_the_likeliest_wrong_class():
    expected = -(math.log(1 - 0.3) + math.log(1 - 0.7)) / 2
    assert boosting_term(P.log(), torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_boosting_term_of_a_confident_mistake_is_finite():
    # 1 - p is exp(-200) in two classes
    assert boosting_term(torch.tensor([[-100.0, 100.0]]), torch.tensor([0])).item() == pytest.approx(200)


def test_weighted_kl_counts_uncertain_images_more():
    adv = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]])
    kl = 0.5 * math.log(0.5 / 0.25) + 0.3 * math.log(0.3 / 0.5) + 0.2 * math.log(0.2 / 0.25)
    assert weighted_kl(P.log(), adv.log(), torch.tensor([0, 2])).item() == pytest.approx(kl * (1 - 0.5) / 2)


def test_squared_error_of_plain_smoothed_and_mixed_labels():
    y = torch.tensor([0, 2])
    assert squared_error(P.log(), y).tolist() == pytest.approx([0.25 + 0.09 + 0.04, 0.01 + 0.04 + 0.09])
    smoothed = squared_error(P.log(), y, smoothing=0.3)  # targets 0.8, 0.1, 0.1
    assert smoothed.tolist() == pytest.approx([0.09 + 0.04 + 0.01, 0 + 0.01 + 0.01])
    mixed = torch.tensor([[0.5, 0.5, 0.0]])
    assert squared_error(P[:1].log(), mixed).tolist() == pytest.approx([0.04 + 0.04])


def test_squared_distance():
    adv = torch.tensor([[0.3, 0.3, 0.4], [0.1, 0.2, 0.7]])
    assert squared_distance(P.log(), adv.log()).tolist() == pytest.approx([0.04 + 0.04, 0], abs=1e-7)


def test_logit_pairing_is_a_mean_over_classes_too():
    assert logit_pairing(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item() == pytest.approx(5 / 4)


def test_a_margin_lowers_the_logit_of_the_label():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert with_margin(logits, torch.tensor([0, 1]), 0.5).tolist() == [[0.5, 2.0], [3.0, 3.5]]
    assert with_margin(logits[:1], torch.tensor([[0.25, 0.75]]), 2.0).tolist() == [[0.5, 0.5]]
    assert with_margin(logits, torch.tensor([0, 1]), 0.0) is logits
