"""Test damaged journals and folders: no traceback, and correct values on the screen."""

import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from afdctl.journal import Journal
from afdctl.tui.app import Dashboard
from afdctl.tui.session import Options, last_output
from afdctl.tui.state.follower import MAX_BYTES_AT_OPEN, RunFollower
from afdctl.tui.state.replay import Replay
from tests.journals import sealed
from tests.tui import journals
from tests.tui.conftest import drive, shown


async def nothing(pilot: Pilot[int], app: Dashboard) -> None:
    pass


def seen(path: Path) -> str:
    return shown(drive(nothing, path))


def test_a_journal_cut_in_the_middle_of_a_line(half: Path):
    journal = half / "events.ndjson"
    journal.write_bytes(journal.read_bytes()[:-40])
    assert "✖ crashed" in seen(half)
    assert "damaged" not in seen(half)


def test_a_bad_line_among_good_ones_is_reported(half: Path):
    journal = half / "events.ndjson"
    journal.write_bytes(journal.read_bytes().replace(b'"step":300,', b'"step":309,', 1))
    assert "1 damaged lines" in seen(half)


def test_a_newer_version(tmp_path: Path):
    path = journals.write(tmp_path / "newer", [dict(journals.RUN, schema=99), {"event": "tensor", "t": 1, "x": [1]}])
    text = seen(path)
    assert "? other version" in text
    assert "another afdctl wrote this run: it has schema 99" in text


def test_an_empty_journal_and_none(tmp_path: Path):
    path = journals.write(tmp_path / "empty", [])
    assert "◌ not started" in seen(path)
    (path / "events.ndjson").unlink()
    assert "◌ not started" in seen(path)


def test_an_empty_journal_of_a_living_trainer(tmp_path: Path):
    path = journals.write(tmp_path / "empty", [])
    with Journal.open(path / "events.ndjson"):
        text = seen(path)
    assert "◌ starting" in text
    assert "waiting for the first line of the journal" in text


def test_rows_of_another_shape(tmp_path: Path):
    strange = [
        {"event": "run", "recipe": "x", "steps_total": None},
        {"event": "step"},
        {"event": "step", "step": "1"},
        {"event": "step", "step": -4},
        {"event": "step", "step": 3, "L_C": "high", "epoch": None},
        {"event": "epoch", "epoch": 1, "step": 1, "acc_nat": None},
        {"event": "sweep", "cells": [{}]},
        {"event": "test", "checkpoint": "best"},
        {"event": "end"},
        {"event": ""},
    ]
    text = seen(journals.write(tmp_path / "strange", strange))
    assert "cannot read" in text


def test_a_value_that_cannot_be_drawn_takes_no_other_pane_along(tmp_path: Path):
    rows = journals.training(620)
    rows[-1] = {"event": "warning", "t": 1e17, "message": "beyond the calendar"}
    text = seen(journals.write(tmp_path / "strange", rows))
    assert "a value of the journal cannot be shown" in text
    assert "L_C classifier" in text


def test_a_step_beyond_all_counting_is_a_line_that_cannot_be_read(tmp_path: Path):
    rows = [*journals.training(30), journals.step(31, step=10**30), journals.step(32, step=1e999)]
    assert "cannot read: step" in seen(journals.write(tmp_path / "far", rows))


def test_a_journal_that_cannot_be_opened(half: Path):
    (half / "events.ndjson").unlink()
    (half / "events.ndjson").mkdir()
    assert "✖ unreadable" in seen(half)
    run = Replay(half, 1.0)
    run.open()
    assert run.state.word == "unreadable"


@pytest.mark.parametrize("text", [b"-1", b"7\n", sealed(b'{"event":"lock","pid":-1,"host":"b","boot":"c"}')])
def test_a_lock_that_names_no_process_gets_no_signal(half: Path, text: bytes):
    with Journal.open(half / "events.ndjson"):
        (half / "events.ndjson.lock").write_bytes(text)
        run = RunFollower(half)
        run.open()
        assert run.pid == 0


def test_a_folder_that_vanishes(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        shutil.rmtree(half)
        app.tick()
        app.draw()
        assert "✖ deleted" in shown(app)
        assert "L_C classifier" in shown(app), "what was read is still there to be looked at"
        await pilot.press("left", "e", "c", "x", "k", "4")

    drive(steps, half)


def test_a_journal_that_another_one_replaced(half: Path):
    run = RunFollower(half)
    run.open()
    assert run.history.step == 620
    journals.write(half, journals.training(30))
    run.poll(1.0)
    assert run.history.step == 30
    other = journals.training(700)
    other[0] = dict(other[0], name="another")
    journals.write(half, other)
    run.poll(1.0)
    assert (run.history.step, run.damaged, run.history.run["name"]) == (700, 0, "another"), "also a longer one"


def test_a_clock_that_jumps(tmp_path: Path):
    rows = journals.training(620)
    for row in rows[300:]:
        row["t"] -= 10 * 86400
    for row in rows[500:]:
        row["t"] += 3650 * 86400
    path = journals.write(tmp_path / "clock", rows)

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.press("l", "l", "left", "+")
        assert app.session.front.history.elapsed >= 0

    drive(steps, path)


def test_a_killed_trainer_has_crashed_and_is_never_running(half: Path):
    journal = Journal.open(half / "events.ndjson")
    run = RunFollower(half)
    run.open()
    assert run.state.word == "training"
    journal.close()  # what the system does for a process that is killed
    run.poll(0)
    assert (run.state.word, run.state.over) == ("crashed", True)


def test_a_quiet_trainer_is_not_called_running(half: Path, monkeypatch: pytest.MonkeyPatch):
    with Journal.open(half / "events.ndjson"):
        run = RunFollower(half)
        run.open()
        run._grown_at -= 100
        assert run.state.word == "quiet 01:40"


def test_a_terminal_of_20_by_5_and_smaller_and_back(half: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for size in [(20, 5), (5, 2), (1, 1), (40, 10), (80, 24), (150, 44)]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert app.frame
            assert (app.frame.cells.width, app.frame.cells.height) == size
        assert "L_C classifier" in shown(app)

    drive(steps, half)


def test_a_long_journal_is_first_a_sample_and_then_whole(tmp_path: Path):
    rows = [dict(journals.RUN, steps_total=20000, steps_per_epoch=1000)]
    rows += [journals.step(number, epoch=number // 1000 + 1) for number in range(1, 12001)]
    rows[5000]["L_C"] = 99.0
    path = journals.write(tmp_path / "long", rows)
    assert (path / "events.ndjson").stat().st_size > MAX_BYTES_AT_OPEN
    run = RunFollower(path)
    run.open()
    assert run.history.step == 12000
    assert run.share < 1
    assert 500 < run.history.series.rows.sum() < 4000
    while run.share < 1:
        run.poll(0.01)
    assert run.history.series.rows.sum() == 12000
    assert run.history.series.band("L_C")[1].max() == 99


def test_the_cursors_row_is_read_from_the_journal_where_buckets_hold_many(half: Path):
    run = RunFollower(half)
    run.open()
    run.history.series._shrink(0)
    run.history.recent.base = 10**9
    assert run.logged_at(301)["L_C"] == journals.step(301)["L_C"]
    shutil.rmtree(half)
    assert run.logged_at(301) == {}


def test_the_output_of_a_trainer_is_its_last_lines(tmp_path: Path):
    assert last_output(tmp_path) == []
    (tmp_path / "log.txt").write_bytes(b"".join(b"line %d \xff\n" % n for n in range(1000)))
    assert last_output(tmp_path, 3)[-1].startswith("line 999")


def test_a_replay_shows_the_run_again(run: Path):
    replay = Replay(run, speed=20.0)
    replay.open()
    assert (replay.state.word, replay.history.step) == ("replay", 0)
    replay._polled_at -= 2.0
    replay.poll(0)
    assert 310 <= replay.history.step <= 330, "40 seconds of the run in two"
    replay.to_epoch(1)
    epochs = len(replay.history.epochs)
    replay.to_epoch(-1)
    assert len(replay.history.epochs) == epochs - 1
    replay.playing = False
    replay._polled_at -= 100
    replay.poll(0)
    assert len(replay.history.epochs) == epochs - 1
    replay.playing = True
    while not replay.done:
        replay._polled_at -= 100
        replay.poll(0)
    assert (replay.state.word, replay.history.step) == ("finished", 1000)


def test_a_replay_in_the_dashboard(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        assert "▶ replay" in shown(app)
        assert "replay x5" in shown(app)
        await pilot.press("]", "]")
        assert len(app.session.front.history.epochs) == 2
        await pilot.press(".")
        assert "replay x5, paused" in shown(app)
        await pilot.press("[")
        assert len(app.session.front.history.epochs) == 1

    drive(steps, run, options=Options(replay=5.0))


def test_the_next_seed_comes_to_the_front(tmp_path: Path):
    first = journals.write(tmp_path / "runs" / "a-001", journals.training())
    second = tmp_path / "runs" / "a-002"
    second.mkdir()

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        assert "a-001  ✔ finished" in shown(app)
        journals.write(second, journals.training(40))
        app.session.poll(app.view)
        app.draw()
        assert "a-002" in shown(app).splitlines()[0]

    drive(steps, first, second, options=Options(owner=True))


def test_a_check_that_becomes_worse_is_noted(half: Path):
    with Journal.open(half / "events.ndjson") as journal:

        async def steps(pilot: Pilot[int], app: Dashboard) -> None:
            journal.extend(journals.step(number, fraction_unchanged=1.0) for number in range(621, 900))
            app.session.poll(app.view)
            app.session._poll_slowly(app.view)
            app.session._poll_slowly(app.view)
            app.draw()
            assert sum("attack has no effect" in entry.text for entry in app.session.notes) == 1

        drive(steps, half)
