"""`afdctl watch FOLDER`: a line or a row for each run of a folder."""

import io
import os
import time
from pathlib import Path

import pytest
from rich.table import Table

from afdctl.cli import watch_folder
from afdctl.cli.console import TableConsole
from afdctl.journal import Journal
from tests.cli.conftest import Afdctl
from tests.tui import journals

COLUMNS = ["state", "epoch", "best", "hold-out %"]
DROPPED = "They also differ in lr_F."


def with_lr(lr_F: float, rows: list[journals.Row]) -> list[journals.Row]:
    recipe = journals.RECIPE | {"defense": journals.RECIPE["defense"] | {"lr_F": lr_F}}
    return [row | {"recipe": recipe} if row["event"] == "run" else row for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("watch")
    journals.write(root / "g" / "x-0a", with_lr(0.5, journals.training(620)))
    journals.write(root / "g" / "x-0b", with_lr(0.1, journals.training()))
    return root


def test_a_line_for_each_run_until_none_is_written(afdctl: Afdctl):
    ended = afdctl("watch", "g")
    assert (ended.code, ended.err) == (0, "")
    lines = dict(line.split("  ", 1) for line in ended.out.splitlines())
    assert lines["x-0a"].startswith("lr_F=0.5  crashed  epoch 13/20  best: epoch ")
    assert lines["x-0b"].startswith("lr_F=0.1  finished  epoch 20/20  best: epoch ")


def test_a_table_once(afdctl: Afdctl):
    ended = afdctl("watch", "g", "--once")
    head, *table = ended.out.splitlines()
    assert head in ("g: 1 crashed, 1 finished", "g: 1 finished, 1 crashed")
    assert [line.split("│")[2].strip() for line in table if line.startswith("│ x-0a")] == ["0.5"]


def test_a_narrow_console_names_the_keys_without_a_column(folder: Path):
    console, runs = TableConsole(), watch_folder.RunFolder(folder / "g")
    console.file = io.StringIO()
    states = runs.refresh()
    for width, columns, lines in (
        (80, ["run", "lr_F", *COLUMNS], []),
        (55, ["run", *COLUMNS], [DROPPED]),
        (48, ["run", "state", "epoch", "hold-out %"], [DROPPED, "No room for best."]),
        (40, ["run", "state", "epoch"], [DROPPED, "No room for best, hold-out %."]),
        (22, ["run", "state"], [DROPPED, "No room for epoch, best, hold-out %."]),
    ):
        console.width = width
        _, table, *after = watch_folder.draw(runs, states, console).renderables
        assert isinstance(table, Table)
        assert ([column.header for column in table.columns], after) == (columns, lines)
        console.print(table)
    # every width shows whole names
    assert console.file.getvalue().count("│ x-0a │") == 5


def test_a_grid_names_the_settings_of_its_own_cells(folder: Path):
    # alone in its folder, a run differs from none
    labels = {"x-0b": "lr_F=0.1 seed=0"}
    (line,) = watch_folder.Changes(watch_folder.RunFolder(folder / "g", labels), labels).new()
    assert line.startswith("x-0b  lr_F=0.1 seed=0  finished")


def test_only_changes_are_lines(folder: Path):
    lines = watch_folder.Changes(watch_folder.RunFolder(folder / "g", ["x-0b"]))
    assert len(list(lines.new())) == 1
    assert list(lines.new()) == []


def test_a_run_that_is_written_keeps_the_folder_awake(folder: Path, monkeypatch: pytest.MonkeyPatch):
    runs = watch_folder.RunFolder(folder / "g")
    with Journal.open(folder / "g" / "x-0a" / "events.ndjson"):
        assert runs.refresh()[0].word == "training"
    runs.refresh()
    assert not runs.is_idle
    later = time.monotonic() + watch_folder.IDLE_SECONDS + 1
    monkeypatch.setattr(watch_folder.time, "monotonic", lambda: later)
    assert runs.is_idle


def test_a_folder_without_a_run_waits_for_the_first(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "new").mkdir()
    assert afdctl("watch", "new", "--once") == (0, "new: no run yet\n", "")
    token = folder / "new" / ".ray-0"
    token.touch()
    assert afdctl("watch", "new", "--once") == (0, "new: no run yet\n", "")
    runs = watch_folder.RunFolder(folder / "new")
    runs.refresh()
    later = runs.begun_at + watch_folder.FIRST_RUN_SECONDS + 1
    monkeypatch.setattr(watch_folder.time, "monotonic", lambda: later)
    assert runs.is_idle
    # Ray's driver is alive
    runs.refresh()
    assert not runs.is_idle
    os.utime(token, (1, 1))

    def begin(_: float) -> None:
        journals.write(folder / "new" / "x-0a", journals.training())

    runs = watch_folder.RunFolder(folder / "new")
    monkeypatch.setattr(watch_folder.time, "sleep", begin)
    head, line = watch_folder.follow(runs)
    assert (head, line.split()[:2], runs.is_idle) == (f"{folder}/new: no run yet", ["x-0a", "finished"], True)


def test_a_folder_in_which_no_run_begins(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "empty").mkdir()
    monkeypatch.setattr(watch_folder, "FIRST_RUN_SECONDS", -1)
    code, out, err = afdctl("watch", "empty")
    assert (code, out) == (3, "empty: no run yet\n")
    assert err.startswith("error: empty: no run has begun here within ")


def test_options_of_the_dashboard_are_refused(afdctl: Afdctl):
    ended = afdctl("watch", "g", "--replay", "2")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("error: g: a folder of runs is shown alone")
