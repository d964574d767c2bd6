"""Rows of steps: the speed in images, and which figures may not be NaN."""

import math
from types import SimpleNamespace

import pytest
import torch

from afdctl.train import meter


def test_the_speed_counts_the_images_of_the_time_since_the_last_flush(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    measured = meter.Meter()
    for step, images in ((1, 30), (2, 10)):
        measured.add({"step": step}, images, {"L_C": torch.tensor(step / 4)})
    clock.now += 4
    assert measured.flush() == [
        {"step": 1, "L_C": 0.25, "images_per_s": 10},
        {"step": 2, "L_C": 0.5, "images_per_s": 10},
    ]
    measured.add({"step": 3}, 30, {"L_C": torch.tensor(1.0)})
    clock.now += 2
    assert measured.flush() == [{"step": 3, "L_C": 1, "images_per_s": 15}]
    assert measured.flush() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["L_C", "L_F", "grad_C", "grad_D"])
def test_a_loss_or_gradient_that_is_no_number_is_found(name: str, value: float):
    rows = [{"step": 4, "L_C": 1.0, "grad_C": 1.0}, {"step": 5, "L_C": 1.0} | {name: value}, {"step": 6, name: value}]
    assert meter.first_divergence(rows) == (5, name)


def test_other_figures_may_be_no_number():
    """A batch of one has no calibrated threshold."""
    assert meter.first_divergence([{"step": 1, "L_C": 1.0, "alpha_h_calibrated": math.nan}]) is None
