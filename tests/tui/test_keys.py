"""Each key and the mouse, through Textual's pilot."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from textual.pilot import Pilot

from afdctl.journal import Journal
from afdctl.runs import files
from afdctl.tui import keymap
from afdctl.tui.app import Dashboard
from afdctl.tui.session import Options
from afdctl.tui.view import Settings, load_settings, save_settings, settings_file
from tests.journals import sealed
from tests.tui import journals
from tests.tui.conftest import drive, shown


def after(path: Path, *keys: str, size: tuple[int, int] = (150, 44), **options: object) -> Dashboard:
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.press(*keys)

    return drive(steps, path, size=size, options=Options(**options))


def corner(app: Dashboard) -> str:
    """Return the chart settings in the header."""
    return shown(app).splitlines()[2].split("batch 128")[1].strip()


CHART_SETTINGS = {
    "s": "smoothing 0.98 · x step · so far",
    "ss": "smoothing 0.995 · x step · so far",
    "sss": "smoothing 0 · x step · so far",
    "S": "smoothing 0.6 · x step · so far",
    "y": "smoothing 0.9 · x step · so far · log y",
    "l": "smoothing 0.9 · x epoch · so far",
    "ll": "smoothing 0.9 · x time · so far",
    "lll": "smoothing 0.9 · x step · so far",
    "w": "smoothing 0.9 · x step · plan",
    "ww": "smoothing 0.9 · x step · last 10 %",
    "www": "smoothing 0.9 · x step · last 1,000",
    "W": "smoothing 0.9 · x step · last 1,000",
    "+": "smoothing 0.9 · x step · zoom",
    "+w": "smoothing 0.9 · x step · plan",
    "+-": "smoothing 0.9 · x step · so far",
    "sylw0": "smoothing 0.9 · x step · so far",
}


def test_how_the_charts_look(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for keys, settings in CHART_SETTINGS.items():
            await pilot.press("0", *keys)
            assert (keys, corner(app)) == (keys, settings)

    drive(steps, run)


def test_the_x_axis_counts_steps_epochs_or_time(half: Path):
    ticks = []

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for _ in range(3):
            ticks.append(shown(app).splitlines()[17])
            await pilot.press("l")

    drive(steps, half)
    assert re.search(r" 0 +250 +500 +750 +1,000 ", ticks[0])
    assert re.search(r" ep 0 +ep 5 +ep 10 +ep 15 +ep 20 ", ticks[1])
    assert re.search(r" 00:00 +01:00 +02:00 ", ticks[2])


def test_the_cursor_shows_what_was_logged_and_not_the_smoothed_line(run: Path):
    app = after(run, "left")
    step = app.view.cursor
    assert step is not None
    row = journals.step(step)
    assert re.search(rf"L_C classifier  {row['L_C']:.3f} ─+ step {step:,} ─", shown(app))
    further = after(run, "left", "left", "shift+left", "right").view.cursor
    assert further is not None
    assert step - 130 < further < step - 40


def test_the_cursor_snaps_to_a_logged_step(tmp_path: Path):
    rows = [dict(journals.RUN), *(journals.step(number) for number in range(1, 900, 100))]
    app = after(journals.write(tmp_path / "sparse", rows), "left", "shift+left")
    assert app.view.cursor is not None
    assert app.view.cursor % 100 == 1


def test_escape_undoes_what_is_most_on_top(run: Path):
    keys = ["enter", "+", "left"]
    assert after(run, *keys).view.cursor
    for number, remaining in enumerate([{"zoom", "maximised"}, {"maximised"}, set()], 1):
        view = after(run, *keys, *["escape"] * number).view
        assert {name for name in ("cursor", "zoom", "maximised") if getattr(view, name)} == remaining


def test_escape_clears_a_filter_before_all_else(run: Path):
    assert " esc back " in shown(after(run, "/", *"xy", "enter"))
    app = after(run, "left", "/", *"xy", "enter", "escape")
    assert app.view.filter == ""
    assert app.view.cursor is not None
    assert "filter 'xy'" not in shown(app)


def test_tab_lights_a_chart_and_enter_gives_it_all_the_room(run: Path):
    app = after(run, "tab", "tab", "enter")
    assert app.view.maximised == "L_D"
    assert "L_C classifier" not in shown(app)
    assert app.frame.places["chart 0"].width == 110
    assert "L_C classifier" in shown(after(run, "tab", "tab", "enter", "enter"))
    assert after(run, "tab", "shift+tab").view.focus == "D"


def test_other_charts_are_on_other_pages(run: Path):
    assert "validation no AutoAttack" in shown(after(run, "pagedown"))
    assert "L_C classifier" in shown(after(run, "pagedown", "pageup"))


def test_freezing_stops_the_view_and_not_the_run(half: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.press("p")
        before = shown(app)
        with (half / "events.ndjson").open("ab") as file:
            file.write(b"".join(journals.line(journals.step(number)) for number in range(621, 700)))
        app.tick()
        assert (app.session.front.history.step, shown(app)) == (620, before)
        await pilot.press("space")
        app.tick()
        assert app.session.front.history.step == 699

    drive(steps, half)


def test_panes_go_and_come_back(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for key, title in {"1": "─ Health ─", "2": "─ Accuracy ─", "3": "─ System ─"}.items():
            assert title in shown(app)
            await pilot.press(key)
            assert title not in shown(app)
            await pilot.press(key)
        assert "─ System ─" in shown(app)

    drive(steps, run)


def test_the_log_pane_has_three_states(run: Path):
    (run / "log.txt").write_text("a word of torch\n")
    assert "─ Log ─" in shown(after(run))
    assert "a word of torch" in shown(after(run, "4"))
    nothing = shown(after(run, "4", "4"))
    assert "─ Log ─" not in nothing
    assert "Output of the trainer" not in nothing


def test_the_header_can_be_hidden(run: Path):
    assert shown(after(run, "5")).startswith("╭─ L_C")


@pytest.mark.parametrize("size", [(80, 24), (70, 24), (44, 12)])
def test_where_there_is_no_room_a_key_shows_one_pane(run: Path, size: tuple[int, int]):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for key, title in {"1": "Health", "2": "Accuracy", "3": "System", "4": "Log"}.items():
            assert f"─ {title} ─" not in shown(app)
            await pilot.press(key)
            assert f"─ {title} ─" in shown(app)
            await pilot.press("escape")
        assert "─ Log ─" not in shown(app)

    drive(steps, run, size=size)


def test_the_filter_is_for_log_and_charts(run: Path):
    app = after(run, "/", *"testx", "backspace", "enter")
    assert app.view.filter == "test"
    assert "test  best checkpoint" in shown(app)
    assert "epoch 20:" not in shown(app)
    assert after(run, "/", *"test", "escape").view.filter == ""
    assert "/tes▏" in shown(after(run, "/", *"tes"))


def test_a_filter_without_a_match_says_so(run: Path):
    (run / "log.txt").write_text("a word of torch\n")
    assert "nothing matches the filter" in shown(after(run, "/", *"xy", "enter"))
    assert "nothing matches the filter" in shown(after(run, "4", "/", *"xy", "enter"))
    assert "nothing matches the filter" not in shown(after(run, "/", *"test", "enter"))


def test_keys_in_the_filter_are_letters(run: Path):
    assert after(run, "/", "q", "x").filter_input == "qx"


def test_the_band_and_the_best_epoch_can_be_hidden(run: Path):
    assert "╎" in shown(after(run))
    assert "╎" not in shown(after(run, "b"))
    assert after(run, "r").view.settings.raw is False


def test_the_theme(run: Path):
    app = after(run, "t")
    assert (app.view.settings.theme, app.palette.dark) == ("light", False)
    assert after(run, "t").palette.dark, "the first choice was remembered, the second is dark again"


def test_a_light_terminal_is_seen(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert not after(run).palette.dark


def test_settings_are_remembered(run: Path):
    after(run, "y", "s", "1")
    assert load_settings() == Settings(beta=0.98, log_y=True, hidden=("health",))
    assert json.loads(settings_file().read_text())["log_y"] is True
    assert corner(after(run)) == "smoothing 0.98 · x step · so far · log y"
    after(run, "0")
    assert load_settings() == Settings()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"beta": 7, "axis": "x", "hidden": 3, "log_y": "y", "new": 1}'])
def test_damaged_settings_are_as_none(content: str):
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(content)
    assert load_settings() == Settings()


def test_settings_that_cannot_be_kept_are_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    save_settings(Settings(log_y=True))
    assert load_settings() == Settings()


def test_the_help_has_a_row_for_all_bindings_and_the_footer_names_keys_that_work(run: Path):
    assert next(iter(keymap.BINDINGS.values())).help, "every binding is described by its own row or the one before it"
    text = shown(after(run, "?"))
    for binding in keymap.BINDINGS.values():
        if binding.help:
            label, words = binding.help
            assert re.search(rf"  {re.escape(label)} +{re.escape(words)} ", text)
    assert "checkpoint now" not in shown(after(run, "?", "escape"))
    assert "suspend" in shown(after(run, "?", size=(130, 20))), "two columns where there are few rows"
    for hint in keymap.hints(after(run).session.snapshot(after(run).view)):
        assert hint.key in keymap.BINDING_OF_KEY


def test_every_key_has_one_binding_and_every_rank_one_hint():
    keys = [key for names in keymap.BINDINGS for key in names.split()]
    ranks = [binding.hint.rank for binding in keymap.BINDINGS.values() if binding.hint]
    assert len(keys) == len(set(keys)) == len(keymap.BINDING_OF_KEY)
    assert sorted(ranks) == list(range(1, len(ranks) + 1))


def test_q_leaves(run: Path):
    assert after(run, "q").return_value == 0


def test_ctrl_c_leaves_where_the_dashboard_is_not_the_trainings_own(run: Path):
    assert after(run, "ctrl+c").return_value == 0


class Alive:
    """A journal that this process writes, and the signals that are sent to it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = Journal.open(path / "events.ndjson")
        self.sent: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "kill", lambda pid, number: self.sent.append((pid, number)))


@pytest.fixture
def alive(half: Path, monkeypatch: pytest.MonkeyPatch):
    found = Alive(half, monkeypatch)
    yield found
    found.journal.close()


def test_stopping_asks_first(half: Path, alive: Alive):
    app = after(half, "x")
    assert "Stop mnist_wgan-002?" in shown(app)
    assert not alive.sent
    assert "Stop" not in shown(after(half, "x", "n"))
    app = after(half, "x", "y")
    assert alive.sent == [(os.getpid(), signal.SIGTERM)]
    assert "asked to stop: it finishes its step and saves" in shown(app).splitlines()[-1]


def test_the_request_to_stop_is_dropped_when_the_run_has_stopped(half: Path, alive: Alive):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.press("x", "y")
        app.tick()
        app.draw()
        assert "asked to stop" in shown(app).splitlines()[-1]
        end = journals.END | {"reason": "stopped", "step": 620, "exit_code": 143}
        with (half / "events.ndjson").open("ab") as file:
            file.write(journals.line(end))
        app.tick()
        app.draw()
        assert "stopped" in shown(app).splitlines()[0]
        assert "asked to stop" not in shown(app).splitlines()[-1]

    drive(steps, half)


def test_ctrl_c_asks_the_owner(half: Path, alive: Alive):
    assert "Stop mnist_wgan-002?" in shown(after(half, "ctrl+c", owner=True))
    after(half, "ctrl+c", "ctrl+c", owner=True)
    assert alive.sent == [(os.getpid(), signal.SIGTERM)]


def test_a_checkpoint_on_demand(half: Path, alive: Alive):
    assert "asked for a checkpoint" in shown(after(half, "k"))
    assert alive.sent == [(os.getpid(), signal.SIGUSR1)]


@pytest.mark.parametrize("key", ["x", "k"])
def test_a_read_only_dashboard_stops_nothing(half: Path, alive: Alive, key: str):
    assert "this dashboard is read-only" in shown(after(half, key, read_only=True))
    assert not alive.sent


@pytest.mark.parametrize("key", ["x", "k"])
def test_a_writer_on_another_host_is_named_and_gets_no_signal(half: Path, alive: Alive, key: str):
    lock = b'{"event":"lock","pid":12,"host":"node7","boot":"c"}'
    (half / "events.ndjson.lock").write_bytes(sealed(lock))
    text = shown(after(half, key, "y"))
    assert "written by pid 12 on host node7; stop it there" in text
    assert "pid 12 on node7" in text
    assert not alive.sent


@pytest.mark.parametrize("key", ["x", "k"])
def test_what_does_not_run_cannot_be_stopped(run: Path, key: str):
    assert "nothing is running here" in shown(after(run, key))


def test_a_checkpoint_is_not_asked_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = journals.write(tmp_path / "swept", [*journals.training(), *journals.sweep(3)])
    alive = Alive(path, monkeypatch)
    assert "nothing new to save" in shown(after(path, "k"))
    assert not alive.sent
    alive.journal.close()


def test_compare(run: Path, half: Path):
    app = after(run, "c")
    assert "▸ ■ mnist_wgan-001" in shown(app)
    assert "□ mnist_wgan-002" in shown(app)
    app = after(run, "c", "down", "space", "enter")
    assert "─ Compared runs ─" in shown(app)
    assert re.search(r"L_C classifier  a 0\.\d+  b 0\.\d+", shown(app))
    assert "the recipes are equal" in shown(app)
    assert "Compared runs" not in shown(after(run, "c", "down", "space", "enter", "escape"))
    assert "Compared runs" not in shown(after(run, "c", "down", "space", "escape"))


def test_nothing_to_compare_with(run: Path):
    assert "there is no other run in this folder" in shown(after(run, "c"))


def test_several_runs_open_compared(run: Path, half: Path):
    async def nothing(pilot: Pilot[int], app: Dashboard) -> None:
        pass

    assert "─ Compared runs ─" in shown(drive(nothing, run, half))


def test_files_of_what_is_shown(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "wrote mnist_wgan-001-step-1000.svg" in shown(after(run, "e"))
    after(run, "e", "E")
    assert (tmp_path / "mnist_wgan-001-step-1000-2.svg").read_text().startswith("<svg")
    assert "L_C classifier" in (tmp_path / "mnist_wgan-001-step-1000.txt").read_text()
    rows = (tmp_path / "mnist_wgan-001-step-1000.csv").read_text().splitlines()
    assert rows[0] == "chart,metric,run,x,mean,low,high"
    charts = {row.split(",")[0] for row in rows[1:]}
    assert charts == {"L_C", "L_D", "L_F", "D"}


def test_the_file_of_a_sweep_holds_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    after(journals.write(tmp_path / "swept", [*journals.training(), *journals.sweep(16)]), "E")
    (table,) = tmp_path.glob("*.csv")
    rows = [row.split(",") for row in table.read_text().splitlines()]
    assert len(rows) == 1 + 16
    assert [row[:4] for row in rows[1:3]] == [["linf", "fgsm", "swept", "0"], ["linf", "fgsm", "swept", "0.1"]]
    assert 0.5 < float(rows[2][4]) < 1


def test_a_folder_that_cannot_be_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "writing", refuse)
    assert "not written: permission denied" in shown(after(run, "e"))


def test_training_or_attacks(tmp_path: Path):
    path = journals.write(tmp_path / "swept", [*journals.training(), *journals.sweep(16)])
    assert "─ Attacks " in shown(after(path))
    assert "L_C classifier" in shown(after(path, "v"))
    assert "─ Attacks " in shown(after(path, "v", "v"))


def test_the_first_v_switches_what_a_comparison_shows(tmp_path: Path):
    rows = [*journals.training(), *journals.sweep(16)]
    paths = [journals.write(tmp_path / name, rows) for name in ("a", "b")]

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        assert "L_C classifier" in shown(app)
        await pilot.press("v")
        assert "─ Attacks " in shown(app)
        await pilot.press("v")
        assert "L_C classifier" in shown(app)

    drive(steps, *paths)


def test_no_attacks_yet(run: Path):
    assert "this run has not been attacked yet" in shown(after(run, "v"))


def test_an_unknown_key_does_nothing(run: Path):
    assert after(run, "f5", "ö", "j").return_value is None


def test_the_mouse(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.click("#canvas", offset=(30, 10))
        assert app.view.focus == "L_C"
        first = app.view.cursor
        assert first is not None
        assert 350 < first < 650
        await pilot.click("#canvas", offset=(40, 10))
        assert app.view.cursor > first
        await pilot.press("escape")
        await pilot.click("#canvas", offset=(30, 10), times=2)
        assert app.view.maximised == "L_C"
        await pilot.press("escape", "escape")
        await pilot._post_mouse_events([_wheel()], "#canvas", (30, 10), button=0)
        assert app.view.zoom
        footer = shown(app).splitlines()[-1]
        await pilot.click("#canvas", offset=(footer.index("log y") + 2, 43))
        assert app.view.settings.log_y
        await pilot.click("#canvas", offset=(footer.index("keys"), 43))
        assert app.dialog
        await pilot.click("#canvas", offset=(75, 20))
        assert not app.dialog

    drive(steps, run)


def _wheel() -> type:
    from textual.events import MouseScrollUp

    return MouseScrollUp
