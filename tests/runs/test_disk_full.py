"""On a full disk every write raises DiskFullError, and old files stay."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import pytest
import torch

from afdctl.errors import DiskFullError
from afdctl.journal import Journal, read_rows
from afdctl.runs import checkpoints, files, results_file
from afdctl.runs.run import Run

Full = Callable[[int], AbstractContextManager[None]]


def fill(journal: Journal, draw: random.Random, acknowledged: list[int]) -> None:
    """Write three rows at a time until it fails; record the steps that were written."""
    for first in range(0, 3000, 3):
        steps = [first, first + 1, first + 2]
        journal.extend([{"event": "warning", "step": step, "message": "x" * draw.randrange(50)} for step in steps])
        acknowledged += steps


@pytest.mark.parametrize("limits", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_the_journal_keeps_every_acknowledged_row(tmp_path: Path, full_beyond: Full, limits: int) -> None:
    draw = random.Random(0)
    for _ in range(limits):
        run = Run.create(tmp_path, "toy", "", {})
        acknowledged: list[int] = []
        with run.open_journal() as journal:
            with full_beyond(draw.randrange(4000)), pytest.raises(DiskFullError, match=r"events\.ndjson: .*free some"):
                fill(journal, draw, acknowledged)
            assert journal.offset == run.journal_path.stat().st_size
            journal.append("warning", step=-1, message="")
        assert [row["step"] for row in read_rows(run.journal_path)] == [*acknowledged, -1]


def test_a_file_keeps_its_old_content(tmp_path: Path, full_beyond: Full) -> None:
    path = tmp_path / "last"
    files.write_bytes(path, b"old")
    for size in (1001, 100_000):
        with full_beyond(1000), pytest.raises(DiskFullError, match="last: File too large"):
            files.write_bytes(path, bytes(size))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_results_keep_their_old_content(run: Run, full_beyond: Full) -> None:
    with run.open_journal() as journal:
        journal.append("step", step=1, epoch=1)
        results_file.build(run)
        journal.append("step", step=2, epoch=1)
    with full_beyond(1000), pytest.raises(DiskFullError, match=r"results\.h5"):
        results_file.build(run)
    with h5py.File(run.results_path) as file:
        assert file["train/steps"]["step"].tolist() == [1]


def test_the_older_checkpoints_stay(run: Run, full_beyond: Full) -> None:
    checkpoints.save(run, {"a": torch.ones(2)}, step=1, epoch=0, best=True, keep=0)
    with full_beyond(1000), pytest.raises(DiskFullError, match="step-00000002"):
        checkpoints.save(run, {"a": torch.ones(999)}, step=2, epoch=0, best=True, keep=0)
    assert [checkpoints.load(run, which).step for which in ("last", "best")] == [1, 1]
    assert len(list(run.checkpoints.iterdir())) == 3


def test_no_half_made_run_is_left(tmp_path: Path, full_beyond: Full) -> None:
    with full_beyond(10), pytest.raises(DiskFullError, match=r"run\.json"):
        Run.create(tmp_path, "toy", "", {"device": "cpu"}, name="mine")
    assert list(tmp_path.iterdir()) == []
