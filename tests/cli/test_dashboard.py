"""A real training under tmux: its dashboard is left, killed and opened again, and the training is not affected."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import afdctl
from afdctl.cli import background
from afdctl.journal import current_writer, read_rows
from afdctl.runs.run import Run
from tests.cli.trainings import LONG, options
from tests.conftest import SHORT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")]
DASHBOARD = " L_C "


class Tmux:
    """A separate tmux server with one window."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, str(folder / "tmux")
        environment = os.environ | {
            "PYTHONPATH": str(Path(afdctl.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
            "TERM": "xterm-256color",
            "XDG_CONFIG_HOME": str(folder),
            "PS1": "$ ",
            "SHELL": "/bin/sh",
        }
        self("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "36", "-c", str(folder), "sh", env=environment)

    def __call__(self, *words: str, env: dict[str, str] | None = None) -> str:
        command = ["tmux", "-S", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout

    def type(self, text: str) -> None:
        self("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self("send-keys", *keys)

    def run(self, *words: str) -> None:
        """Type an afdctl command; its exit code is printed after it."""
        self.type(f"{sys.executable} -m afdctl {' '.join(words)} > out; echo ended: $?")
        self.press("Enter")

    def shows(self, text: str, seconds: float = 90.0) -> str:
        until = time.monotonic() + seconds
        while text not in (screen := self("capture-pane", "-p")):
            assert time.monotonic() < until, screen
            time.sleep(0.1)
        return screen

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    found = Tmux(tmp_path)
    yield found
    for run in Run.all(tmp_path / "runs"):
        if writer := current_writer(run.journal_path):
            os.kill(writer.pid, signal.SIGKILL)
    subprocess.run(["tmux", "-S", found.socket, "kill-server"], capture_output=True, check=False)


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def the_run(tmux: Tmux) -> Run:
    return Run(tmux.folder / "runs" / "digits_nt-001")


def at_work(run: Run) -> int:
    writer = current_writer(run.journal_path)
    assert writer
    pid = writer.pid
    before = sum(1 for _ in read_rows(run.journal_path))
    wait_for(lambda: sum(1 for _ in read_rows(run.journal_path)) > before)
    return pid


def test_a_training_is_left_come_back_to_saved_and_stopped(tmux: Tmux):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    run = the_run(tmux)
    pid = at_work(run)
    tmux.press("q")
    screen = tmux.shows("ended: 0")
    assert "continues in the background" in screen.replace("\n", "")
    assert tmux.out == "runs/digits_nt-001\n"
    assert at_work(run) == pid

    tmux.type("clear")
    tmux.press("Enter")
    tmux.run("watch", "digits_nt-001")
    tmux.shows("● training")
    saved = sum(row["event"] == "checkpoint" for row in read_rows(run.journal_path))
    tmux.press("k")
    tmux.shows("asked for a checkpoint")
    wait_for(lambda: sum(row["event"] == "checkpoint" for row in read_rows(run.journal_path)) > saved)
    tmux.press("x")
    tmux.shows("Stop digits_nt-001?")
    tmux.press("y")
    tmux.shows("■ stopped")
    end = background.read_end(run)
    assert end
    assert (end.reason, end.exit_code) == ("stopped", 143)
    assert (run.checkpoints / "last").exists()
    tmux.press("q")
    tmux.shows("ended: 0")


def test_a_training_watched_to_its_end_stays_to_be_looked_at(tmux: Tmux):
    tmux.run("train", "digits_nt", *options(SHORT))
    tmux.shows("✔ finished")
    time.sleep(1)
    assert "✔ finished" in tmux("capture-pane", "-p")
    assert tmux.out == ""
    tmux.press("q")
    tmux.shows("ended: 0")
    assert tmux.out == "runs/digits_nt-001\n"


def test_its_own_dashboard_stops_it_and_returns_its_exit_code(tmux: Tmux):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    at_work(the_run(tmux))
    tmux.press("C-c")
    tmux.shows("Stop digits_nt-001?")
    tmux.press("C-c")
    tmux.shows("■ stopped")
    tmux.press("q")
    screen = tmux.shows("ended: 143")
    assert "resume with" in screen
    assert tmux.out == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_killing_the_dashboard_never_touches_the_training(tmux: Tmux, number: signal.Signals):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    run = the_run(tmux)
    pid = at_work(run)
    shell = psutil.Process(int(tmux("display-message", "-p", "#{pane_pid}")))
    mine = [child for child in shell.children(recursive=True) if "afdctl" in child.cmdline() and child.pid != pid]
    os.kill(mine[0].pid, number)
    tmux.shows(f"ended: {128 + number}")
    assert at_work(run) == pid


def test_closing_the_terminal_never_touches_the_training(tmux: Tmux):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    run = the_run(tmux)
    pid = at_work(run)
    tmux("kill-server")
    time.sleep(0.5)
    assert at_work(run) == pid


def test_a_killed_trainer_is_crashed(tmux: Tmux):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    os.kill(at_work(the_run(tmux)), signal.SIGKILL)
    tmux.shows("✖ crashed")
    tmux.press("q")
    screen = tmux.shows("ended: 1")
    assert "the trainer exited unexpectedly" in screen.replace("\n", "")
    tmux.type("clear")
    tmux.press("Enter")
    tmux.run("train", "--resume", "digits_nt-001")
    tmux.shows("● training")
    assert "resume at step" in tmux("capture-pane", "-p")


def test_a_mistake_never_opens_a_dashboard(tmux: Tmux):
    tmux.run("train", "digits_nt", "--device", "cuda")
    screen = tmux.shows("ended: 2")
    assert "error: --device cuda: not on this machine; it has: cpu" in screen
    assert not list(tmux.folder.glob("runs/*"))


def test_resizing_redraws_each_time(tmux: Tmux):
    tmux.run("train", *LONG)
    tmux.shows("● training")
    for width, height, what in [(150, 44, "Health"), (80, 24, "L_C"), (40, 10, "L_C"), (20, 5, "step")]:
        tmux("resize-window", "-x", str(width), "-y", str(height))
        tmux.shows(what, seconds=5)
    tmux("resize-window", "-x", "150", "-y", "44")
    assert "╭─ System" in tmux.shows("╭─ System", seconds=5)
