"""A trace shows steps and their phases, and Perfetto can read it."""

import json
import os
from typing import Any

import pytest
import torch

from afdctl.bench.step_time import write_trace
from afdctl.defenses.step_phases import PHASES
from tests.conftest import short

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    assert "convolution" in write_trace(short("digits_wgan"), CPU, path)
    rows: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return rows


def test_a_trace_names_steps_and_phases(events: list[dict[str, Any]]):
    """One slice per phase, except that C and D are inside F: z' is computed before its logits and L_D, L_F after."""
    named = [event["name"] for event in sorted(slices(events), key=lambda event: event["ts"])]
    shown = {"step 1", "step 2", *PHASES}
    once = ["attack", "C", "F", "C", "D", "F", "optimizer"]
    assert [name for name in named if name in shown] == ["step 1", *once, "step 2", *once]


def test_every_slice_of_a_trace_lies_within_the_one_above_it(events: list[dict[str, Any]]):
    """Perfetto drops slices that overlap and reports lost data."""
    above: list[float] = []
    for event in sorted(slices(events), key=lambda event: (event["ts"], -event["dur"])):
        ends = event["ts"] + event["dur"]
        while above and above[-1] <= event["ts"]:
            above.pop()
        assert not above or ends <= above[-1], event["name"]
        above.append(ends)


def test_a_trace_shows_one_process_and_no_rows_of_the_profiler(events: list[dict[str, Any]]):
    (name,) = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert name == "afdctl on CPU"
    assert {event["pid"] for event in events} == {os.getpid()}


def slices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events with a duration; on the CPU all of them belong to one thread."""
    rows = [event for event in events if event["ph"] == "X"]
    assert len({event["tid"] for event in rows}) == 1
    return rows
