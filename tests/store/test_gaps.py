"""A journal that lost its end is found by what was made from it, and results.h5 keeps the rows."""

from pathlib import Path

import h5py
import torch

from afdctl.store import checkpoints, results
from afdctl.store.gaps import lost_tail
from afdctl.store.run import Run
from tests.written import epoch, steps, trained, written

STATE = {"a": torch.ones(1)}


def cut_behind(run: Run, words: str) -> None:
    """Cut the journal cleanly behind the first line that has `words`."""
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if words.encode() in line)
    run.journal_path.write_bytes(b"".join(lines[: place + 1]))


def test_a_whole_run_has_no_gap(tmp_path: Path):
    run = written(tmp_path, "whole", trained())
    checkpoints.save(run, STATE, step=20, epoch=2, best=True)
    results.build(run)
    assert lost_tail(run) == lost_tail(run, 20, 2) == []


def test_a_kill_between_a_checkpoint_and_its_row_is_no_gap(tmp_path: Path):
    run = written(tmp_path, "killed", [*steps(1, 10), epoch(1), *steps(11, 13)])
    checkpoints.save(run, STATE, step=13, epoch=1, best=True)
    assert lost_tail(run, 13, 1) == []


def test_steps_and_epochs_that_the_checkpoint_knows_are_missed(tmp_path: Path):
    run = written(tmp_path, "cut", trained())
    checkpoints.save(run, STATE, step=20, epoch=2, best=True)
    cut_behind(run, '"step":20,')
    assert lost_tail(run) == []
    assert lost_tail(run, 20, 2) == [
        f"{run.journal_path}: its last rows are missing: it ends in epoch 2, the checkpoint is of the end of epoch 2; "
        "restore the file from a copy, or go on without these rows"
    ]
    cut_behind(run, '"step":12,')
    (gap,) = lost_tail(run)
    assert "it ends at step 12, the checkpoint is of step 20; restore the file" in gap


def test_results_that_know_more_than_the_journal_are_kept(tmp_path: Path):
    run = written(tmp_path, "cut", trained())
    results.build(run)
    size = run.journal_path.stat().st_size
    cut_behind(run, '"event":"epoch"')
    (gap,) = lost_tail(run)
    assert f"bytes, results.h5 was made from {size:,}" in gap
    results.build(run)
    kept = run.path / f"results-{size}.h5"
    assert lost_tail(run) == [f"{kept}: has rows that events.ndjson has lost"]
    for path, count in ((kept, 20), (run.results_path, 10)):
        with h5py.File(path) as file:
            assert len(file["train/steps"]) == count
