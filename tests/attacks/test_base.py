"""Test when a model counts as fooled, which iterate is chosen, and how a NaN gradient is treated."""

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import (
    AttackResult,
    IterateTracker,
    cross_entropy_per_sample,
    is_misclassified,
    loss_and_gradient,
    margin,
    rounding_margin,
    target_margins,
)

NAN, INF = torch.nan, torch.inf
Y = torch.zeros(8, dtype=torch.long)
LOGITS = torch.tensor(
    [
        [1, 2, 0],
        [1, 1 + 1e-7, 0],
        [1, 1, 1],
        [NAN, 2, 0],
        [0, NAN, 2],
        [-INF, 0, -1],
        [0, INF, 1],
        [INF, 0, 1],
    ]
)


def test_a_model_is_fooled_where_its_answer_has_another_argmax():
    """NaN is no answer; an infinite logit is one like any other, and of equal logits the first wins."""
    assert is_misclassified(LOGITS, Y).tolist() == [True, True, False, False, False, True, True, False]
    has_answer = ~LOGITS.isnan().any(1)
    assert torch.equal(is_misclassified(LOGITS, Y)[has_answer], (LOGITS.argmax(1) != Y)[has_answer])
    tie, last = torch.ones(1, 3), torch.tensor([2])
    assert is_misclassified(tie, last).all()
    assert not is_misclassified(tie, last, rounding_margin(tie, last)).any()


def test_a_margin_excludes_rounding_and_low_confidence():
    """An infinite margin exceeds every other; rounding cannot explain it."""
    rounding = rounding_margin(LOGITS, Y)
    assert is_misclassified(LOGITS, Y, rounding).tolist() == [True, False, False, False, False, True, True, False]
    assert is_misclassified(LOGITS, Y, 1.5).tolist() == [False, False, False, False, False, True, True, False]
    assert is_misclassified(LOGITS, Y, 1.5 + rounding).tolist() == [False] * 5 + [True, True, False]


def test_margins():
    assert margin(LOGITS, Y)[:3].tolist() == pytest.approx([1, 1e-7, 0], abs=1e-7)
    assert margin(LOGITS, Y)[3:5].isnan().all()
    assert target_margins(LOGITS[:2], Y[:2], torch.tensor([[1, 2], [2, 1]]))[0].tolist() == [1, -1]


class Corner(nn.Module):
    """The gradient of the distance to 1/2 is NaN at 1/2, where the answer is finite."""

    def forward(self, x: Tensor) -> Tensor:
        distance = (x - 0.5).flatten(1).square().sum(1).sqrt()
        return torch.stack([distance, -distance], 1)


def test_a_gradient_of_nan_is_no_gradient():
    x = torch.full((2, 1, 2, 2), 0.5)
    x[1] = 0.6
    logits, losses, gradient = loss_and_gradient(Corner(), cross_entropy_per_sample, x, torch.zeros(2).long())
    assert logits.isfinite().all()
    assert losses.isfinite().all()
    assert not gradient[0].any()
    assert (gradient[1] < 0).all()


@pytest.mark.parametrize(
    ("return_iterate", "chosen"),
    [("best_loss", [0.2, 0.1, 0.0]), ("last", [0.3, 0.3, 0.3]), ("last_success", [0.3, 0.2, 0.0])],
)
def test_the_iterate_that_becomes_x_adv(return_iterate: str, chosen: list[float]):
    """Three samples, three iterates at 0.1, 0.2, 0.3; NaN neither has the largest loss nor fools."""
    tracker = IterateTracker(return_iterate, torch.zeros(3, 1, 1, 1), torch.zeros(3).long())
    losses = torch.tensor([[1.0, 3.0, NAN], [2.0, 1.0, NAN], [0.5, 2.0, NAN]])
    fooled = [[True, True, False], [False, True, False], [True, False, False]]
    for number, loss in enumerate(losses):
        logits = torch.stack([torch.zeros(3), torch.where(torch.tensor(fooled[number]), 1.0, -1.0)], 1)
        logits[2] = NAN
        tracker.update(torch.full((3, 1, 1, 1), (number + 1) / 10), logits, loss)
    assert tracker.x_adv.flatten().tolist() == pytest.approx(chosen)
    tracker.select(torch.tensor([True, False, True]))
    assert tracker.x_adv.flatten().tolist() == pytest.approx([chosen[0], chosen[2]])


def test_updated_rows_replace_everything_but_passes():
    result = AttackResult.empty(torch.zeros(3, 1, 1, 1))
    rows = AttackResult.empty(torch.ones(2, 1, 1, 1))
    rows.first_success_step[:], rows.forwards[:], rows.backwards[:] = 4, 2, 1
    index = torch.tensor([0, 2])
    for _ in range(2):
        result.update(index, rows)
    assert result.x_adv.flatten().tolist() == [1, 0, 1]
    assert result.fooled.tolist() == [True, False, True]
    assert result.forwards.tolist() == [4, 0, 4]
    assert result.backwards.tolist() == [2, 0, 2]
    assert torch.equal(result.select(index).forwards, torch.tensor([4, 4]))
