"""The time of a whole recipe, from the times of its parts."""

import json
from pathlib import Path

import pytest
import torch

from afdctl.bench import eta, settings, trace
from afdctl.bench.outline import Cost
from afdctl.bench.steps import batch
from tests.conftest import short

CPU = torch.device("cpu")
COST = Cost(attack_start=1.0, attack_step=2.0, training={"C": 5.0})


def test_steps_validations_and_tests_add_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eta, "seconds_a_pass", lambda *_: 0.001)
    chosen = short(
        "digits_wgan", "train.epochs=60", "train.batch_size=128", "attack.steps=10", "data.holdout=200",
        "validation.steps=20", "test.steps=40",
    )  # fmt: skip
    # 10 steps of attack are 26, and 4 are 14
    found = eta.of_recipe(chosen, batch(chosen, CPU), {"attack_steps": 4, "afd_seconds": 1.4}, COST)
    assert found is not None
    assert found["steps_per_epoch"] == 10, "1237 images in batches of 128"
    assert found["step_seconds"] == pytest.approx(2.6)
    limit = min(chosen.validation.limit, 200)
    assert found["validation_seconds"] == pytest.approx(0.001 * limit * 43)
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
    medians = [row["over_present"].median for row in rows]
    assert medians == sorted(medians)


def test_channels_last_is_not_tried_where_it_is_not_safe():
    chosen = short("digits_wgan", "model.width=4", "train.batch_size=4")
    assert not any(row["channels_last"] for row in settings.measure(chosen, batch(chosen, CPU), rounds=2))


def test_a_trace_names_the_parts(tmp_path: Path):
    table = trace.write(short("digits_wgan"), CPU, tmp_path / "trace.json")
    names = {event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert {"step 1", "step 2", "attack", "C", "D", "F", "optimizer"} <= names
    assert "convolution" in table
