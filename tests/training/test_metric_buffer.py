"""Test the transfer of step metrics, their speed, and the detection of NaN."""

import math
from types import SimpleNamespace

import pytest
import torch

from afdctl.errors import RecipeError
from afdctl.training import metric_buffer
from afdctl.training.distributed import Processes


def test_the_speed_counts_the_images_of_the_time_since_the_last_flush(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(metric_buffer, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    buffer = metric_buffer.MetricBuffer()
    for step, images in ((1, 30), (2, 10)):
        buffer.add({"step": step}, images, {"L_C": torch.tensor(step / 4)})
    clock.now += 4
    assert buffer.flush() == [
        {"step": 1, "L_C": 0.25, "images_per_s": 10},
        {"step": 2, "L_C": 0.5, "images_per_s": 10},
    ]
    buffer.add({"step": 3}, 30, {"L_C": torch.tensor(1.0)})
    clock.now += 2
    assert buffer.flush() == [{"step": 3, "L_C": 1, "images_per_s": 15}]
    assert buffer.flush() == []


def test_processes_that_report_different_metrics_are_refused():
    class Other(Processes):
        def agree(self, *values: int) -> list[int]:
            return [max(own, other) for own, other in zip(values, (1, -1), strict=True)]

    buffer = metric_buffer.MetricBuffer(Other())
    buffer.add({"step": 1}, 1, {"L_C": torch.tensor(1.0)})
    with pytest.raises(RecipeError, match=r"^the processes of this training report different metrics; a defense must"):
        buffer.flush()


def test_each_step_has_its_own_metrics():
    """A user's defense may train one of its networks in every other step."""
    buffer = metric_buffer.MetricBuffer()
    for step, name in enumerate(("L_C", "L_D", "L_C")):
        buffer.add({"step": step}, 1, {name: torch.tensor(step / 4), "acc_adv": torch.tensor(0.5)})
    rows = [{key: value for key, value in row.items() if key != "images_per_s"} for row in buffer.flush()]
    assert rows == [
        {"step": 0, "L_C": 0.0, "acc_adv": 0.5},
        {"step": 1, "L_D": 0.25, "acc_adv": 0.5},
        {"step": 2, "L_C": 0.5, "acc_adv": 0.5},
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["L_C", "L_F", "grad_C", "grad_D"])
def test_a_loss_or_gradient_norm_that_is_not_finite_is_found(name: str, value: float):
    rows = [{"step": 4, "L_C": 1.0, "grad_C": 1.0}, {"step": 5, "L_C": 1.0} | {name: value}, {"step": 6, name: value}]
    assert metric_buffer.first_divergence(rows) == (5, name)


def test_other_figures_may_be_no_number():
    """A batch of one has no calibrated threshold."""
    assert metric_buffer.first_divergence([{"step": 1, "L_C": 1.0, "alpha_h_calibrated": math.nan}]) is None


class Arrival:
    """A fake CUDA event that records which block was waited for."""

    def __init__(self, waited: list[int], number: int) -> None:
        self.waited, self.number = waited, number

    def synchronize(self) -> None:
        self.waited.append(self.number)


def add(buffer: metric_buffer.MetricBuffer, *steps: int) -> None:
    for step in steps:
        buffer.add({"step": step}, 10, {"L_C": torch.tensor(float(step))})


def test_on_the_cpu_all_rows_are_ready():
    buffer = metric_buffer.MetricBuffer()
    add(buffer, 1, 2)
    assert [row["step"] for row in buffer.pop_ready()] == [1, 2]
    assert buffer.pop_ready() == []


def test_rows_of_a_gpu_come_one_report_later_and_all_at_the_end(monkeypatch: pytest.MonkeyPatch):
    """The GPU computes the newest block meanwhile; only the previous one is waited for."""
    waited: list[int] = []
    start_transfer = metric_buffer.MetricBuffer._start_transfer

    def send(buffer: metric_buffer.MetricBuffer) -> None:
        sent = len(buffer._pending)
        start_transfer(buffer)
        for index, block in enumerate(buffer._pending[sent:], sent):
            buffer._pending[index] = block._replace(arrival=Arrival(waited, block.rows[0]["step"]))

    monkeypatch.setattr(metric_buffer.MetricBuffer, "_start_transfer", send)
    buffer = metric_buffer.MetricBuffer()
    add(buffer, 1, 2)
    assert buffer.pop_ready() == []
    assert len(buffer) == 0
    add(buffer, 3, 4)
    assert [row["step"] for row in buffer.pop_ready()] == [1, 2]
    assert waited == [1]
    add(buffer, 5)
    rows = buffer.flush()
    assert [(row["step"], row["L_C"]) for row in rows] == [(3, 3.0), (4, 4.0), (5, 5.0)]
    assert len({row["images_per_s"] for row in rows}) == 1
    assert waited[-1] == 5
    assert buffer.flush() == []


@pytest.mark.gpu
def test_adding_reports_does_not_wait_for_the_device():
    buffer = metric_buffer.MetricBuffer()
    metrics = [torch.full((), float(step), device="cuda") for step in range(4)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, metric in enumerate(metrics):
            buffer.add({"step": step}, 10, {"L_C": metric})
        assert buffer.pop_ready() == []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [row["L_C"] for row in buffer.flush()] == [0.0, 1.0, 2.0, 3.0]
