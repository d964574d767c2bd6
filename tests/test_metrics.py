"""Test metrics against values worked by hand."""

import math

import pytest
import torch

from afdctl import metrics


def test_accuracy():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    assert metrics.accuracy(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(2 / 3)


def test_alpha_h_adds_true_positives_and_true_negatives():
    nat, adv = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, 0.0, 2.0, -3.0])
    assert metrics.alpha_h(nat, adv).item() == pytest.approx(3 / 4 + 3 / 4)
    assert [rate.item() for rate in metrics.true_rates(nat, torch.tensor([1.0, 0.0]))] == [3 / 4, 1 / 2]


@pytest.mark.parametrize(("alpha", "d"), [(1.0, 0.0), (2.0, 2.0), (1.25, 0.5), (0.75, 0.5), (0.0, 2.0)])
def test_d_hdh_is_eq_6(alpha: float, d: float):
    assert metrics.d_hdh(torch.tensor(alpha)).item() == pytest.approx(d)


def test_a_shifted_critic_is_blind_at_zero_but_not_when_calibrated(generator: torch.Generator):
    """L_D of the Wasserstein game does not change under a shift, and neither does the calibrated estimate."""
    nat, adv = (torch.randn(8000, generator=generator) + mean for mean in (11, 9))
    assert metrics.d_hdh(metrics.alpha_h(nat, adv)).item() == 0
    # two normal distributions two deviations apart: the best threshold tells 2 Phi(1) of them rightly
    expected = 2 * (2 * 0.5 * (1 + math.erf(1 / math.sqrt(2))) - 1)
    assert metrics.d_hdh(metrics.alpha_h_calibrated(nat, adv)).item() == pytest.approx(expected, abs=0.05)
    shifted = metrics.alpha_h_calibrated(nat - 10, adv - 10)
    assert shifted.item() == pytest.approx(metrics.alpha_h_calibrated(nat, adv).item(), abs=0.02)


def test_calibration_does_not_flatter_equal_distributions(generator: torch.Generator):
    alphas = [metrics.alpha_h_calibrated(*torch.randn((2, 64), generator=generator)).item() for _ in range(300)]
    assert sum(alphas) / len(alphas) == pytest.approx(1, abs=0.02)


def test_best_threshold_among_ties():
    """Equal scores fall on one side together: no threshold parts the two zeros."""
    nat, adv = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0])
    threshold = metrics.best_threshold(nat, adv)
    assert metrics.alpha_h(nat, adv, threshold).item() == pytest.approx(1.5)


def test_best_threshold_of_a_reversed_discriminator_is_chance():
    nat, adv = torch.tensor([-2.0, -1.0]), torch.tensor([1.0, 2.0])
    assert metrics.alpha_h(nat, adv, metrics.best_threshold(nat, adv)).item() == 1


def test_unchanged_counts_whole_images():
    x = torch.zeros(4, 1, 2, 2)
    x_adv = x.clone()
    x_adv[0, 0, 0, 0] = 1e-6
    assert metrics.fraction_unchanged(x, x_adv).item() == 0.75
