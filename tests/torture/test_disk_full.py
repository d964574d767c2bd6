"""A disk of any size runs full: exit 5, and with more room the same command finishes with equal results."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.torture.conftest import Count, Try
from tests.torture.judge import FINE, Outcome, crash, differences, measured, refusal, trial, worst
from tests.torture.process import run
from tests.torture.tally import LOST
from tests.torture.work import Work, readable

SEED = 3


def mounting() -> bool:
    """Whether this process may mount; tried in a mount namespace of its own, so that nothing is left."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return os.geteuid() == 0 and bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True).returncode


pytestmark = pytest.mark.skipif(not mounting(), reason="needs the right to mount")


@pytest.mark.parametrize(("name", "few"), [("training", 1), ("sweep", 0), ("analysis", 0)])
def test_disk_full(name: str, few: int, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    work, wanted = works[name], count(few, 30)
    first, last = room(work.start), room_after(work, at)
    draw = random.Random(SEED)
    attempt(
        trial(f"disk full, {name}", f"{name} on a disk of {size} KiB", on_disk(work, at, size))
        for size in sorted(draw.randrange(first, last) for _ in range(wanted))
    )


def on_disk(work: Work, at: Path, size: int) -> Outcome:
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    with disk(at, size):
        if work.start:
            shutil.copytree(work.start, at, symlinks=True, dirs_exist_ok=True)
        (at / ".said").symlink_to(at.with_name("said"))  # what the command prints needs no room
        at.with_name("said").mkdir(exist_ok=True)
        ended = run(work.command, at)
        if ended.code == 0 and differences(measured(at / "runs/a"), work.truth):
            return LOST, "exits 0 with something missing"
        outcome = crash(ended) or (FINE if ended.code == 0 else refusal(ended, ["runs"], [5]))
        seen = readable(at)
        subprocess.run(["mount", "-o", "remount,size=64m", at], check=True)
        return worst([outcome, seen, work.finish(at)])


@contextmanager
def disk(at: Path, size: int) -> Iterator[None]:
    """A disk of `size` KiB at the folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", at], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def room(folder: Path | None) -> int:
    """KiB of whole pages, which is how a tmpfs counts."""
    files = [] if folder is None else folder.rglob("*")
    return sum(4 * (1 + -(-file.stat().st_size // 4096)) for file in files) + 4


def room_after(work: Work, at: Path) -> int:
    folder = work.folder(at)
    assert run(work.command, folder).code == 0
    shutil.rmtree(folder / ".said")
    return room(folder)
