"""Dashboards without a terminal, with default settings, in UTC."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from afdctl.tui.app import Dashboard
from afdctl.tui.drawing.cells import Palette
from afdctl.tui.screen import Frame, compose_frame
from afdctl.tui.session import Options
from afdctl.tui.state.follower import state
from afdctl.tui.system import Gpu, System
from afdctl.tui.view import Snapshot, View
from tests.tui import journals

MACHINE = System(
    cpu=37.0,
    cores=16,
    used=24e9,
    total=128e9,
    free=412e9,
    trainer=(103.0, 2.1e9),
    gpus=(Gpu(load=83.0, used=24.1e9, total=80e9, temperature=61.0),),
)
Steps = Callable[[Pilot[int], Dashboard], Awaitable[None]]


@pytest.fixture(autouse=True)
def default_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No saved settings, no variables of a terminal, and UTC."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("NO_COLOR", "COLORFGBG", "TEXTUAL_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def snapshot(rows: list[journals.Row], view: View = View(), pid: int | None = None, **changes: Any) -> Snapshot:  # noqa: B008
    """Return a snapshot of a journal; the process `pid` writes it."""
    history = journals.history(rows)
    return replace(
        Snapshot(
            name="mnist_wgan-001",
            history=history,
            state=state(history, pid is not None),
            view=view,
            system=MACHINE,
            pid=pid,
        ),
        **changes,
    )


def screen(rows: list[journals.Row], width: int = 150, height: int = 44, **changes: Any) -> Frame:
    return compose_frame(snapshot(rows, **changes), width, height, Palette())


def text(rows: list[journals.Row], width: int = 150, height: int = 44, **changes: Any) -> str:
    return screen(rows, width, height, **changes).cells.text()


def drive(steps: Steps, *paths: Path, size: tuple[int, int] = (150, 44), options: Options = Options()) -> Dashboard:  # noqa: B008
    """Open a dashboard on these runs and perform `steps`."""
    app = Dashboard(list(paths), options, depth="true")

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await steps(pilot, app)

    asyncio.run(run())
    return app


def shown(app: Dashboard) -> str:
    """Return the text on the screen."""
    assert app.frame
    return app.frame.cells.text()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a finished run."""
    return journals.write(tmp_path / "runs" / "mnist_wgan-001", journals.training())


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Return the folder of a run whose trainer was killed at step 620."""
    return journals.write(tmp_path / "runs" / "mnist_wgan-002", journals.training(620))
