"""Dashboards without a terminal, with nobody's settings, in one time zone."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from afdctl.tui.app import Dashboard
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.screen import Frame, compose
from afdctl.tui.session import Options
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.status import state
from afdctl.tui.state.system import Gpu, System
from afdctl.tui.view import View
from tests.tui import journals

MACHINE = System(
    cpu=37.0,
    cores=16,
    used=24e9,
    total=128e9,
    free=412e9,
    trainer=(103.0, 2.1e9),
    gpus=(Gpu("H100", 83.0, 24.1e9, 80e9, 61.0),),
)
Steps = Callable[[Pilot[int], Dashboard], Awaitable[None]]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of a user, no variables of a terminal, and UTC."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("NO_COLOR", "COLORFGBG", "TEXTUAL_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def facts(rows: list[journals.Row], view: View = View(), pid: int | None = None, **changes: Any) -> Snapshot:  # noqa: B008
    """The facts of a journal; `pid` writes it."""
    known = journals.history(rows)
    found = Snapshot(
        "mnist_wgan-001",
        Path("runs/mnist_wgan-001"),
        known,
        state(known, pid is not None),
        view,
        MACHINE,
        journals.BEGIN + 500,
        pid,
    )
    return replace(found, **changes)


def screen(rows: list[journals.Row], width: int = 150, height: int = 44, **changes: Any) -> Frame:
    return compose(facts(rows, **changes), width, height, Palette())


def text(rows: list[journals.Row], width: int = 150, height: int = 44, **changes: Any) -> str:
    return screen(rows, width, height, **changes).cells.text()


def drive(steps: Steps, *paths: Path, size: tuple[int, int] = (150, 44), options: Options = Options()) -> Dashboard:  # noqa: B008
    """Run a dashboard of these runs through `steps`."""
    app = Dashboard(list(paths), options, depth="true")

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await steps(pilot, app)

    asyncio.run(run())
    return app


def shown(app: Dashboard) -> str:
    """What is on the screen."""
    assert app.frame
    return app.frame.cells.text()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run."""
    return journals.write(tmp_path / "runs" / "mnist_wgan-001", journals.training())


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """The folder of a run whose trainer died at step 620."""
    return journals.write(tmp_path / "runs" / "mnist_wgan-002", journals.training(620))
