"""Test that input other than keys neither ends the dashboard nor disables its keys."""

import os
import signal
from functools import partialmethod
from pathlib import Path

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot

from afdctl.errors import AfdctlError
from afdctl.journal import Journal
from afdctl.tui.app import CrashError, Dashboard
from afdctl.tui.session import Options, Session
from afdctl.tui.terminal import MAX_COLUMNS, MAX_ROWS, InputParser, limit_size
from tests.tui.conftest import drive, shown
from tests.tui.screenshot import Terminal


def keys(*chunks: bytes) -> list[str]:
    parser = InputParser()
    return [event.key for chunk in chunks for event in parser.events(chunk) if isinstance(event, events.Key)]


@pytest.mark.parametrize(
    ("chunks", "pressed"),
    [
        ([b"\xe9", b"q"], ["q"]),
        ([b"\xff\xfe\x80q"], ["q"]),
        ([b"\xc3", b"\xa9"], ["é"]),
        ([b"\x1b[99999999u", b"q"], ["q"]),
        ([b"\x1b[48;30;100;0;0t\x1b[<0;3;3M", b"q"], ["q"]),
        ([b"\x1b]11;rgb:0000/0000/0000\x07q"], ["q"]),
        ([b"\x1bP1$r0m\x1b\\q"], ["q"]),
        ([b"\x1b[?62;1;2cq"], ["q"]),
        ([b"\x1b[200~xyq\x1b[201~", b"s"], ["s"]),
        ([b"\x1b[200~a paste without an end", b"\x03"], ["ctrl+c"]),
        ([b"\x1b[200~a paste without an end", b"\x1b[99;5u"], ["ctrl+c"]),
    ],
)
def test_other_input_is_ignored_and_the_next_key_works(chunks: list[bytes], pressed: list[str]):
    assert keys(*chunks) == pressed


@pytest.mark.parametrize(
    ("claimed", "limited"),
    [((150, 44), (150, 44)), ((10**9, 10**9), (MAX_COLUMNS, MAX_ROWS)), ((-5, 0), (1, 1))],
)
def test_a_size_is_one_that_can_be_drawn(claimed: tuple[int, int], limited: tuple[int, int]):
    assert limit_size(events.Resize.from_dimensions(claimed, None)).size == limited


def test_keys_work_after_a_click_outside_the_known_size(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        for kind in (events.MouseDown, events.MouseUp, events.MouseMove, events.MouseScrollUp):
            app._driver.send_message(kind(None, 998, 998, 0, 0, 1, False, False, False, 998, 998))
            await pilot.pause()
        await pilot.press("s")
        assert "smoothing 0.98" in shown(app)

    drive(steps, run)


def test_ctrl_c_leaves_the_line_of_the_filter_and_the_dashboard(run: Path):
    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        await pilot.press("slash", "q", "ctrl+c")

    assert drive(steps, run).return_value == 0


def test_odd_input_on_a_real_terminal(run: Path):
    with Terminal("watch", str(run), folder=run) as terminal:
        terminal.wait_for(b"L_F")
        os.write(terminal.ours, b"\xe9\xff\x1b[<0;999;999M\x1b[<0;999;999m\x1b[99999999u\x1b[48;0;0;0;0t\x1b[O")
        terminal.read(0.5)
        terminal.press("q")
        assert terminal.end() == (0, "")
        assert terminal.is_restored()
        assert b"Traceback" not in terminal.written


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_dashboard(run: Path):
    terminal = Terminal("watch", str(run), folder=run)
    terminal.wait_for(b"L_F")
    os.close(terminal.theirs)
    os.close(terminal.ours)
    assert terminal.process.wait(20) == 128 + signal.SIGHUP
    terminal.process.communicate()


def test_a_browser_stops_saves_and_writes_nothing(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    sent = []
    monkeypatch.setattr(os, "kill", lambda *words: sent.append(words))

    async def steps(pilot: Pilot[int], app: Dashboard) -> None:
        before = set(tmp_path.rglob("*"))
        await pilot.press("k", "x", "y", "e", "E", "ctrl+z", "t", "s")
        assert "picture" not in shown(app).splitlines()[-1]
        assert app.view.settings.theme == "light", "it may change what it shows itself"
        assert set(tmp_path.rglob("*")) == before

    with Journal.open(half / "events.ndjson"):
        drive(steps, half, options=Options(served=True))
    assert sent == []


@pytest.mark.filterwarnings("default")
def test_a_crash_is_one_line_and_the_details_are_in_a_file(run: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    def fail(*_: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(Session, "snapshot", fail)
    monkeypatch.setattr(Dashboard, "run", partialmethod(App.run, headless=True))
    with pytest.raises(CrashError) as failed:
        Dashboard([run], Options()).show()
    assert failed.value.exit_code == AfdctlError.exit_code == 1
    words, _, path = str(failed.value).rpartition(" ")
    assert words == "the dashboard failed (KeyError), and no training was affected; the details are in"
    assert "KeyError: 'broken'" in Path(path).read_text()
    Path(path).unlink()
    assert "Traceback" not in "".join(capfd.readouterr())
