"""Test the dashboard on a terminal: it repaints changed cells only, in supported colours, and any end restores it."""

import asyncio
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from textual.app import App, ComposeResult

from afdctl.tui.drawing.cells import Cells, Palette
from afdctl.tui.terminal import Canvas, changed_regions
from tests.tui import journals
from tests.tui.conftest import screen
from tests.tui.screenshot import Terminal

READY = b"L_F"


@pytest.mark.parametrize("size", [(100, 30), (150, 44)])
def test_the_size_is_that_of_the_terminal_also_where_stdout_is_a_pipe(run: Path, size: tuple[int, int]):
    with Terminal("watch", str(run), folder=run, size=size) as terminal:
        terminal.wait_for(b"Health" if size[0] == 150 else READY)
        columns = {int(column) for column in re.findall(rb"\x1b\[\d+;(\d+)H", terminal.written)}
        assert (b"Health" in terminal.written) == (size[0] == 150)
        assert max(columns, default=0) <= size[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_gives_the_terminal_back(run: Path, number: signal.Signals):
    with Terminal("watch", str(run), folder=run) as terminal:
        terminal.wait_for(READY)
        os.kill(terminal.process.pid, number)
        assert terminal.end() == (128 + number, "")
        assert terminal.is_restored()
        assert b"Traceback" not in terminal.written


def test_leaving_restores_a_terminal_and_uses_256_colours_only(run: Path):
    with Terminal("watch", str(run), folder=run, COLORTERM="") as terminal:
        terminal.wait_for(READY)
        terminal.press("q")
        assert terminal.end() == (0, "")
        assert terminal.is_restored()
        assert b"38;5;" in terminal.written
        assert b"38;2;" not in terminal.written


def test_true_colour(run: Path):
    with Terminal("watch", str(run), folder=run, COLORTERM="truecolor") as terminal:
        terminal.wait_for(READY)
        assert b"38;2;" in terminal.written


def test_no_colour(run: Path):
    with Terminal("watch", str(run), folder=run, NO_COLOR="1") as terminal:
        terminal.wait_for(READY)
        terminal.press("?")
        terminal.wait_for(b"suspend")
        terminal.press("q")
        terminal.press("q")
        assert terminal.end()[0] == 0
        assert b"Traceback" not in terminal.written
        coloured = re.findall(rb"\x1b\[[0-9;]*(?:3[0-7]|4[0-7]|[34]8;[25];[0-9;]+)m", terminal.written)
        assert coloured == []


@pytest.mark.slow
def test_ctrl_z_gives_the_shell_its_turn_and_fg_brings_it_back(run: Path):
    with Terminal("watch", str(run), folder=run) as terminal:
        terminal.wait_for(READY)
        terminal.press("\x1a")
        terminal.wait_for(lambda: _state(terminal.process.pid) == "T")
        assert terminal.is_restored()
        os.kill(terminal.process.pid, signal.SIGCONT)
        drawn = len(terminal.written)
        terminal.wait_for(lambda: READY in terminal.written[drawn:])
        terminal.press("q")
        assert terminal.end()[0] == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_two_frames_that_differ_in_one_cell_repaint_little():
    palette = Palette()
    one, other = Cells(50, 3, palette), Cells(50, 3, palette)
    other.put(10, 1, ("x", palette.ink("text")))
    assert changed_regions(one, other) == [(10, 1, 1, 1)]
    other.put(40, 1, ("y", palette.ink("text")))
    assert changed_regions(one, other) == [(10, 1, 1, 1), (40, 1, 1, 1)]


class Alone(App[None]):
    def compose(self) -> ComposeResult:
        yield Canvas()


def test_the_partial_repaint_equals_the_full_one():
    frames = [screen(journals.training(last)).cells for last in (0, 1, 40, 55, 300, 610, 620)]

    async def run() -> None:
        app = Alone()
        async with app.run_test(size=(150, 44)) as pilot:
            canvas = app.query_one(Canvas)
            # one palette, as in a dashboard: its numbers stay
            palette = frames[0].palette
            for cells in frames:
                for style in cells.palette.styles:
                    assert style is not None
                again = Cells(cells.width, cells.height, palette)
                again.codes = cells.codes
                lookup = [palette.ink(*key) for key in cells.palette._numbers]
                again.inks = np.array(lookup, np.uint16)[cells.inks]
                canvas.show(again)
                await pilot.pause()
                drawn = [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]
                assert "\n".join(drawn) == cells.text()
                full = [again.strip(y) for y in range(again.height)]
                assert [canvas.render_line(y) for y in range(again.height)] == full

    asyncio.run(run())
