"""`afdctl runs rm` removes the named runs completely, and nothing else."""

import io
import sys
from pathlib import Path

import pytest

from afdctl.journal import Journal
from afdctl.runs import folders
from afdctl.runs.files import size_on_disk
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl

Runs = dict[str, Run]


class Terminal(io.StringIO):
    """A terminal on which this is typed."""

    def isatty(self) -> bool:
        return True


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "runs").iterdir()}


def test_yes_removes_and_prints_the_freed_size(afdctl: Afdctl, runs: Runs, folder: Path):
    from afdctl.formatting import format_bytes

    freed = format_bytes(sum(size_on_disk(runs[name].path) for name in ("at", "young")))
    ended = afdctl("runs", "rm", "at", "runs/young", "at", "--yes")
    assert ended == (0, "runs/at\nruns/young\n", f"{freed} freed\n")
    assert left(folder) == {"wgan", "mnist"}


def test_without_a_terminal_removal_needs_yes(afdctl: Afdctl, runs: Runs, folder: Path):
    ended = afdctl("runs", "rm", "at")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: rm: would remove at (")
    assert ended.err.endswith("; there is no terminal to ask on, so add --yes\n")
    assert left(folder) == set(runs)


@pytest.mark.parametrize(("answer", "code", "gone"), [("y\n", 0, {"at"}), ("n\n", 1, set()), ("\n", 1, set())])
def test_a_terminal_is_asked(
    afdctl: Afdctl, runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, gone: set[str]
):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ended = afdctl("runs", "rm", "at")
    assert ended.code == code
    assert "Remove at (" in ended.err
    assert left(folder) == set(runs) - gone


def test_names_come_from_stdin(afdctl: Afdctl, runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("runs/at\nwgan\n"))
    assert afdctl("runs", "rm", "-", "--yes").code == 0
    assert left(folder) == {"young", "mnist"}


def test_a_run_that_is_written_stays_and_so_do_the_others(afdctl: Afdctl, runs: Runs, folder: Path):
    with Journal.open(runs["young"].journal_path):
        ended = afdctl("runs", "rm", "at", "young", "--yes")
    assert ended.code == 4
    assert "run young is being written by pid" in ended.err
    assert left(folder) == set(runs)


def test_no_link_is_followed(afdctl: Afdctl, runs: Runs, folder: Path):
    """A link to a run is refused; links inside a run are removed, their targets stay."""
    elsewhere = folder / "elsewhere"
    runs["at"].path.rename(elsewhere)
    runs["at"].path.symlink_to(elsewhere)
    ended = afdctl("runs", "rm", "at", "--yes")
    assert (ended.code, ended.out) == (2, "")
    assert "runs/at: a link to" in ended.err
    assert (elsewhere / "run.json").exists()
    big = folder / "big"
    before = size_on_disk(runs["wgan"].path)
    runs["wgan"].shards.rename(big)
    runs["wgan"].shards.symlink_to(big)
    # a link itself takes some bytes
    assert size_on_disk(runs["wgan"].path) < before - size_on_disk(big) + 1000
    assert afdctl("runs", "rm", "wgan", "--yes").code == 0
    assert not runs["wgan"].path.exists()
    assert len(list(big.iterdir())) == 1


def test_damaged_and_newer_runs_can_be_removed(afdctl: Afdctl, runs: Runs, folder: Path):
    (runs["wgan"].path / "run.json").write_text("{")
    (runs["mnist"].path / "run.json").write_text('{"schema": 7}')
    assert afdctl("runs", "rm", "wgan", "mnist", "--yes").code == 0
    assert left(folder) == {"at", "young"}


def test_a_path_may_go_round_corners(afdctl: Afdctl, runs: Runs, folder: Path):
    assert afdctl("runs", "rm", "runs/../runs/at/.", "--yes").code == 0
    assert "at" not in left(folder)


def test_other_folders_are_not_removed(afdctl: Afdctl, runs: Runs, folder: Path):
    (folder / "runs" / "notes").mkdir()
    (folder / "runs" / "notes" / "a.txt").touch()
    ended = afdctl("runs", "rm", "notes", "--yes")
    assert (ended.code, ended.err) == (3, "error: runs/notes: not a run (it has no run.json); name a run's folder\n")
    assert "notes" in left(folder)


def test_a_killed_removal_leaves_no_run(runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folders.remove(runs["at"].path)
    assert {run.name for run in Run.all(folder / "runs")} == {"wgan", "young", "mnist"}
