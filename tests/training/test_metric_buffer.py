"""Rows of steps: the speed in images, and which figures may not be NaN."""

import math
from types import SimpleNamespace

import pytest
import torch

from afdctl.training import metric_buffer


def test_the_speed_counts_the_images_of_the_time_since_the_last_flush(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(metric_buffer, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    measured = metric_buffer.MetricBuffer()
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
    assert metric_buffer.first_divergence(rows) == (5, name)


def test_other_figures_may_be_no_number():
    """A batch of one has no calibrated threshold."""
    assert metric_buffer.first_divergence([{"step": 1, "L_C": 1.0, "alpha_h_calibrated": math.nan}]) is None


class Arrival:
    """When figures reach the host; notes who waited for them."""

    def __init__(self, waited: list[int], number: int) -> None:
        self.waited, self.number = waited, number

    def synchronize(self) -> None:
        self.waited.append(self.number)


def add(measured: metric_buffer.MetricBuffer, *steps: int) -> None:
    for step in steps:
        measured.add({"step": step}, 10, {"L_C": torch.tensor(float(step))})


def test_on_the_cpu_all_rows_have_arrived():
    measured = metric_buffer.MetricBuffer()
    add(measured, 1, 2)
    assert [row["step"] for row in measured.pop_ready()] == [1, 2]
    assert measured.pop_ready() == []


def test_rows_of_a_gpu_come_one_report_later_and_all_at_the_end(monkeypatch: pytest.MonkeyPatch):
    """It computes the newest meanwhile; only those of the report before are waited for."""
    waited: list[int] = []
    sent = metric_buffer.MetricBuffer._start_transfer

    def send(measured: metric_buffer.MetricBuffer) -> None:
        before = len(measured._pending)
        sent(measured)
        for place, block in enumerate(measured._pending[before:], before):
            measured._pending[place] = block._replace(arrival=Arrival(waited, block.rows[0]["step"]))

    monkeypatch.setattr(metric_buffer.MetricBuffer, "_start_transfer", send)
    measured = metric_buffer.MetricBuffer()
    add(measured, 1, 2)
    assert measured.pop_ready() == []
    assert len(measured) == 0
    add(measured, 3, 4)
    assert [row["step"] for row in measured.pop_ready()] == [1, 2]
    assert waited == [1]
    add(measured, 5)
    rows = measured.flush()
    assert [(row["step"], row["L_C"]) for row in rows] == [(3, 3.0), (4, 4.0), (5, 5.0)]
    assert len({row["images_per_s"] for row in rows}) == 1
    assert waited[-1] == 5
    assert measured.flush() == []


@pytest.mark.gpu
def test_handing_figures_over_waits_for_nothing():
    measured = metric_buffer.MetricBuffer()
    figures = [torch.full((), float(step), device="cuda") for step in range(4)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, figure in enumerate(figures):
            measured.add({"step": step}, 10, {"L_C": figure})
        assert measured.pop_ready() == []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [row["L_C"] for row in measured.flush()] == [0.0, 1.0, 2.0, 3.0]
