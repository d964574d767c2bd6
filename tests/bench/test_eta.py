"""The time of a whole recipe, from the times of its parts."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from afdctl.bench import eta, settings, trace
from afdctl.bench.outline import Cost
from afdctl.bench.parts import PARTS
from afdctl.bench.settings import Setting
from afdctl.bench.steps import Batch, Step, batch
from afdctl.errors import AfdctlError
from afdctl.recipe import Recipe
from tests.conftest import short

CPU = torch.device("cpu")
COST = Cost(attack_start=1.0, attack_step=2.0, training={"C": 5.0})


def test_steps_validations_and_tests_add_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eta, "seconds_a_pass", lambda *_: 0.001)
    chosen = short(
        "digits_wgan", "train.epochs=60", "train.batch_size=128", "attack.steps=10", "data.holdout=200",
        "validation.steps=20", "validation.queries=100", "test.steps=40",
    )  # fmt: skip
    # 10 steps of attack are 26, and 4 are 14
    found = eta.of_recipe(chosen, batch(chosen, CPU), {"attack_steps": 4, "afd_seconds": 1.4}, COST)
    assert found is not None
    assert found["steps_per_epoch"] == 10, "1237 images in batches of 128"
    assert found["step_seconds"] == pytest.approx(2.6)
    limit = min(chosen.validation.limit, 200)
    assert found["validation_seconds"] == pytest.approx(0.001 * limit * (43 + 103))
    tested = chosen.test.limit or 360
    assert found["test_seconds"] == pytest.approx(0.001 * 2 * tested * 83)
    assert found["total_seconds"] == pytest.approx(
        60 * (26 + found["validation_seconds"]) + found["test_seconds"]
    )  # fmt: skip


def test_a_folders_time_is_not_known():
    chosen = short("folder_wgan", "data.image_size=8", "train.batch_size=4")
    assert eta.of_recipe(chosen, batch(chosen, CPU), {}, COST) is None


def test_settings_leave_the_threads_as_they_were():
    threads = torch.get_num_threads()
    chosen = short("digits_wgan", "model.width=16", "train.batch_size=4")
    rows = settings.measure(chosen, batch(chosen, CPU), rounds=2)
    assert torch.get_num_threads() == threads
    assert {(row["threads"], row["channels_last"]) for row in rows} == {
        *((count, True) for count in {*settings.thread_counts(), threads}), (threads, False),
    }  # fmt: skip
    assert {(row["precision"], row["compile"]) for row in rows} == {("float32", False)}
    medians = [row["over_present"].median for row in rows]
    assert medians == sorted(medians)


def test_channels_last_is_not_tried_where_it_is_not_safe():
    chosen = short("digits_wgan", "model.width=4", "train.batch_size=4")
    assert not any(row["channels_last"] for row in settings.measure(chosen, batch(chosen, CPU), rounds=2))


def test_a_gpu_is_shown_what_each_way_to_be_faster_brings():
    present = Setting(4, True, "float32", False)
    found = settings.others(present, torch.device("cuda"))
    ways = {(one.precision, one.compile) for one in found}
    assert ways == {(precision, mode) for precision in ("float32", "bf16") for mode in settings.TRIED_MODES}
    assert {one.threads for one in found} == {4}


def test_a_setting_that_fails_is_told_and_nothing_else_is_lost(monkeypatch: pytest.MonkeyPatch):
    def fails(self: Setting, recipe: Recipe, images: Batch) -> Step:
        if self.compile:
            raise AfdctlError("the encoder cannot be compiled: no luck\nat all")
        return own(self, recipe, images)

    own = Setting.step
    monkeypatch.setattr(Setting, "step", fails)
    monkeypatch.setattr(settings, "others", lambda present, device: [replace(present, compile="default")])
    chosen = short("digits_wgan", "train.batch_size=4")
    good, bad = settings.measure(chosen, batch(chosen, CPU), rounds=2)
    assert good["over_present"].median == 1
    assert (bad["compile"], bad["over_present"], bad["error"]) == (
        "default", None, "the encoder cannot be compiled: no luck",
    )  # fmt: skip


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    assert "convolution" in trace.write(short("digits_wgan"), CPU, path)
    found: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return found


def test_a_trace_names_steps_and_parts(events: list[dict[str, Any]]):
    """One slice a part, but for D, in the midst of F: z' is there before D's loss, and F's loss comes after."""
    named = [event["name"] for event in sorted(slices(events), key=lambda event: event["ts"])]
    shown = {"step 1", "step 2", *PARTS}
    once = ["attack", "C", "F", "D", "F", "optimizer"]
    assert [name for name in named if name in shown] == ["step 1", *once, "step 2", *once]


def test_every_slice_of_a_trace_lies_within_the_one_above_it(events: list[dict[str, Any]]):
    """Perfetto drops those that overlap, and says that data are lost."""
    above: list[float] = []
    for event in sorted(slices(events), key=lambda event: (event["ts"], -event["dur"])):
        ends = event["ts"] + event["dur"]
        while above and above[-1] <= event["ts"]:
            above.pop()
        assert not above or ends <= above[-1], event["name"]
        above.append(ends)


def test_a_trace_shows_one_process_and_nothing_of_the_tracers_own(events: list[dict[str, Any]]):
    (name,) = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert name == "afdctl on CPU"
    assert {event["pid"] for event in events} == {os.getpid()}


def slices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with a beginning and an end; on the CPU all of them are of one thread."""
    found = [event for event in events if event["ph"] == "X"]
    assert len({event["tid"] for event in found}) == 1
    return found
