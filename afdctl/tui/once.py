"""One frame without a terminal."""

import time
from collections.abc import Sequence
from pathlib import Path

from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.screenful import compose
from afdctl.tui.session import Options, Session
from afdctl.tui.view import Kept, View


def frame(paths: Sequence[Path], width: int, height: int, *, colours: bool, dark: bool = True) -> Cells:
    """The dashboard as it is now, with everything read and with nobody's settings."""
    session = Session(paths, Options(read_only=True))
    session.open()
    for run in session.compared or [session.front]:
        while run.share < 1:
            run.poll(1.0)
    session.poll(View())
    # the load of the processor is over the time since it was first asked for
    time.sleep(0.1)
    session.slow_due = 0.0
    session.poll(View())
    facts = session.facts(View(Kept()))
    return compose(facts, width, height, Palette(dark, "true" if colours else "none")).cells
