"""A journal that lost its end is noticed, and results.h5 with the lost rows is kept."""

from pathlib import Path

import h5py
import pytest
import torch

from afdctl.journal import JournalOutline
from afdctl.runs import checkpoints, results_file
from afdctl.runs.record import lost_rows
from afdctl.runs.run import RESULTS_BEGIN, Run
from afdctl.runs.shards import USER_BLOCK
from tests.journals import epoch, steps, trained, written

STATE = {"a": torch.ones(1)}


def cut_behind(run: Run, words: str) -> None:
    """Cut the journal after the first line that contains `words`."""
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if words.encode() in line)
    run.journal_path.write_bytes(b"".join(lines[: place + 1]))


def test_a_complete_run_has_no_gap(tmp_path: Path):
    run = written(tmp_path, "whole", trained())
    checkpoints.save(run, STATE, step=20, epoch=2, best=True)
    results_file.build(run)
    assert lost_rows(run) == lost_rows(run, 20, 2) == []


def test_a_kill_between_a_checkpoint_and_its_row_is_no_gap(tmp_path: Path):
    run = written(tmp_path, "killed", [*steps(1, 10), epoch(1), *steps(11, 13)])
    checkpoints.save(run, STATE, step=13, epoch=1, best=True)
    assert lost_rows(run, 13, 1) == []


def test_steps_and_epochs_that_the_checkpoint_knows_are_missed(tmp_path: Path):
    run = written(tmp_path, "cut", trained())
    checkpoints.save(run, STATE, step=20, epoch=2, best=True)
    cut_behind(run, '"step":20,')
    assert lost_rows(run) == []
    assert lost_rows(run, 20, 2) == [
        f"{run.journal_path}: its last rows are missing: it ends in epoch 2, the checkpoint is of the end of epoch 2; "
        "restore the file from a copy, or continue without these rows"
    ]
    cut_behind(run, '"step":12,')
    (gap,) = lost_rows(run)
    assert "it ends at step 12, the checkpoint is of step 20; restore the file" in gap


def test_results_that_know_more_than_the_journal_are_kept(tmp_path: Path):
    run = written(tmp_path, "cut", trained())
    results_file.build(run)
    size = run.journal_path.stat().st_size
    cut_behind(run, '"event":"epoch"')
    (gap,) = lost_rows(run)
    assert f"bytes, results.h5 was made from {size:,}" in gap
    results_file.build(run)
    kept = run.path / f"results-{size}.h5"
    assert lost_rows(run) == [f"{kept}: has rows that events.ndjson has lost; look at it, then delete it"]
    for path, count in ((kept, 20), (run.results_path, 10)):
        with h5py.File(path) as file:
            assert len(file["train/steps"]) == count


@pytest.mark.parametrize("damage", ["no first line", "wrong first line", "half"])
def test_lost_rows_are_found_in_every_file_that_has_them(tmp_path: Path, damage: str):
    run = written(tmp_path, "cut", trained())
    results_file.build(run)
    size, data = run.journal_path.stat().st_size, run.results_path.read_bytes()
    assert data.startswith(RESULTS_BEGIN % size)
    first = {"no first line": bytes(USER_BLOCK), "wrong first line": (RESULTS_BEGIN % 10**9).ljust(USER_BLOCK)}
    whole = first.get(damage, data[:USER_BLOCK]) + data[USER_BLOCK:]
    run.results_path.write_bytes(whole[: len(whole) // 2] if damage == "half" else whole)
    assert lost_rows(run) == []
    cut_behind(run, '"event":"epoch"')
    gaps = lost_rows(run)
    assert [f"results.h5 was made from {size:,}" in gap for gap in gaps] == ([] if damage == "half" else [True])
    results_file.build(run)
    assert (run.path / f"results-{size}.h5").exists() == (damage != "half")


@pytest.mark.parametrize("module", ["results_file", "record"])
def test_rows_written_while_a_run_is_read_are_not_reported_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
):
    run = written(tmp_path, "busy", [*steps(1, 10), epoch(1), *steps(11, 20), epoch(2)])
    checkpoints.save(run, STATE, step=20, epoch=2, best=True)
    results_file.build(run)
    size = run.journal_path.stat().st_size

    class Interrupted(JournalOutline):
        """A journal to which another process adds a row, a checkpoint and results.h5 once it has been read."""

        def __init__(self, path: Path) -> None:
            super().__init__(path)
            monkeypatch.undo()
            with run.open_journal() as journal:
                journal.append("step", step=21, epoch=3)
                checkpoints.save(run, STATE, step=21, epoch=2, best=False)
                results_file.build(run)

    monkeypatch.setattr(f"afdctl.runs.{module}.JournalOutline", Interrupted)
    assert (results_file.build(run) if module == "results_file" else lost_rows(run)) in ([], run.results_path)
    assert lost_rows(run) == []
    assert list(run.path.glob("results*.h5")) == [run.results_path]
    with h5py.File(run.results_path) as file:
        assert file.attrs["log_offset"] == run.journal_path.stat().st_size > size


def test_rows_that_a_torn_end_has_replaced_are_lost(tmp_path: Path):
    run = written(tmp_path, "torn", trained())
    results_file.build(run)
    size = run.journal_path.stat().st_size
    cut_behind(run, '"event":"epoch"')
    with run.journal_path.open("ab") as file:
        file.write(bytes(size))  # as a power cut leaves a file
    (gap,) = lost_rows(run)
    assert f"results.h5 was made from {size:,}" in gap
    results_file.build(run)
    assert (run.path / f"results-{size}.h5").exists()
