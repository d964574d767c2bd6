"""A disk of any size runs full: exit 5, and with more room the same command finishes with equal results."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.torture.conftest import Try, WorkOf
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, crash, differences, measured, refusal, trial, worst
from tests.torture.process import OUTPUT, run
from tests.torture.tally import LOST
from tests.torture.work import Work, readable

SEED = 3


def mounting() -> bool:
    """Whether this process may mount; tried in a separate mount namespace, which leaves nothing mounted."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        os.geteuid() == 0
        and bool(shutil.which("unshare"))
        and not subprocess.run(command, capture_output=True).returncode
    )


pytestmark = pytest.mark.skipif(not mounting(), reason="needs the right to mount")


@pytest.mark.parametrize(("name", "number"), forms(["training", "sweep", "analysis"], {}, 30))
def test_disk_full(name: str, number: int, work_of: WorkOf, attempt: Try, at: Path):
    work = work_of(name)
    first, last = room(work.start), room(work.done)
    draw = random.Random(SEED)
    attempt(
        trial(f"disk full, {name}", f"{name} on a disk of {size} KiB", on_disk(work, at, size))
        for size in sorted(draw.randrange(first, last) for _ in range(number))
    )


def on_disk(work: Work, at: Path, size: int) -> Outcome:
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir()
    with disk(at, size):
        if work.start:
            shutil.copytree(work.start, at, symlinks=True, dirs_exist_ok=True)
        (at / OUTPUT).symlink_to(at.with_name("printed"))  # what the command prints needs no room
        at.with_name("printed").mkdir(exist_ok=True)
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
