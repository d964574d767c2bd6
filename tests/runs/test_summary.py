"""One word says how a run is doing, in `runs ls`, the report and the dashboard."""

from pathlib import Path
from typing import Any

import pytest

from afdctl.runs.record import Record
from afdctl.runs.status import StatusTracker, status_of
from afdctl.tui.state.follower import RunFollower
from tests.journals import Row, end, epoch, resumed, steps, trained, written

SWEEP = {"event": "sweep", "suite": "strong", "n": 1, "seed": 0, "cells": [], "done": []}
SWEEP_END = {"event": "sweep_end", "reason": "finished", "exit_code": 0}
CHECK = {"event": "sanity_check", "checkpoint": "0", "data": "d", "version": 1, "n": 1, "warnings": []}
FEATURES = {
    "event": "features",
    "key": "k",
    "shard": "s.h5",
    "n": 1,
    "attack": None,
    "epsilon": 0.0,
    "checkpoint": "0",
}

CASES = [
    ([], "training", "crashed"),
    ([*steps(1, 10), epoch(1)], "training", "crashed"),
    ([*steps(1, 10), end("diverged", "nan")], "diverged", "diverged"),
    ([*steps(1, 10), end("stopped"), resumed(10, 1), *steps(11, 12)], "training", "crashed"),
    ([*steps(599, 600)], "testing", "crashed"),
    (trained(), "finished", "finished"),
    ([*trained(), CHECK], "finished", "finished"),
    ([*trained(), SWEEP], "sweeping", "sweep crashed"),
    ([*trained(), SWEEP, SWEEP_END], "swept", "swept"),
    ([*trained(), SWEEP, SWEEP_END | {"reason": "stopped"}], "sweep stopped", "sweep stopped"),
    ([*trained(), SWEEP, SWEEP_END, FEATURES], "analyzing", "swept"),
    ([*trained(), SWEEP, SWEEP_END, FEATURES, SWEEP], "sweeping", "sweep crashed"),
]


@pytest.mark.parametrize(("rows", "while_written", "afterwards"), CASES)
def test_the_same_word_everywhere(tmp_path: Path, rows: list[Row], while_written: str, afterwards: str):
    run = written(tmp_path, "one", rows)

    def words() -> set[str]:
        follower = RunFollower(run.path)
        follower.open()
        return {status_of(Record.of(run)), follower.state.word}

    with run.open_journal():
        assert words() == {while_written}
    assert words() == {afterwards}


def test_without_a_row_it_starts_or_has_not_started():
    assert StatusTracker().status(is_written=True) == "starting"
    assert StatusTracker().status(is_written=False) == "not started"


@pytest.mark.parametrize("step", ["x", [1], {}])
def test_a_malformed_row_is_an_error_where_it_is_taken(step: Any):
    tracker = StatusTracker([{"event": "run", "steps_total": 5}])
    if step:
        with pytest.raises((TypeError, ValueError)):
            tracker.take({"event": "step", "step": step})
    assert tracker.status(is_written=True) == "training"
