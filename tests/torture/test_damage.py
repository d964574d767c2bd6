"""One flipped bit or a cut in any file of a run: every command gives the true numbers, or names the file."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from tests.journals import sealed
from tests.torture.conftest import Try, WorkOf
from tests.torture.flips import Damage
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, differences, measured, reading, results, short, trial, worst
from tests.torture.process import Ended, Started, run, run_all
from tests.torture.tally import LOST, Trial
from tests.torture.work import ANALYZE, RESUME, SWEEP, TRAIN

SEED = 4
LOG = "a library printed this\n" * 20
# What a killed writer leaves; one that ends normally leaves an empty lock.
LOCK = sealed(b'{"event":"lock","pid":1,"host":"elsewhere","boot":"0123"}')
FILES = {
    "recipe.toml": "recipe.toml",
    "run.json": "run.json",
    "journal": "events.ndjson",
    "lock": "events.ndjson.lock",
    "log.txt": "log.txt",
    "results.h5": "results.h5",
    "pointer": "checkpoints/[lb]*st",
    "checkpoint": "checkpoints/*.pt",
    "shard": "shards/*.h5",
}
READERS = [
    ["runs", "ls", "--json"],
    ["runs", "show", "a", "--json"],
    ["runs", "compare", "a", "b", "--all", "--json"],
    ["watch", "a"],
    ["watch", "--once", "a"],
    ["export", "a", "--table", "1", "--json"],
    ["export", "a", "--events", "json"],
    ["export", "a", "--cells", "json"],
    ["export", "a", "--report", "page.html"],
]
REBUILD = ["runs", "rebuild", "a"]
WORKERS = {
    "sweep": [*SWEEP, "--json"],
    "analyze": [*ANALYZE, "--json"],
    "weights": ["export", "a", "--weights", "safetensors", "--out", "w.safetensors", "--device", "cpu"],
}
Truth = Callable[[list[str]], Ended]


@pytest.fixture(scope="session")
def finished(work_of: WorkOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run `a` with every kind of file, and its copy `b`."""
    folder = work_of("analysis").folder(tmp_path_factory.mktemp("finished"))
    shutil.copytree(work_of("analysis").done, folder, dirs_exist_ok=True)
    (folder / "runs/a/log.txt").write_text(LOG)
    (folder / "runs/a/events.ndjson.lock").write_bytes(LOCK)
    # the writer was killed longer ago than it would be waited for
    os.utime(folder / "runs/a/events.ndjson.lock", (0, 0))
    shutil.copytree(folder / "runs/a", folder / "runs/b")
    return folder


@pytest.fixture(scope="session")
def truth(finished: Path) -> Truth:
    """What a command prints of the undamaged run."""

    @cache
    def printed(command: tuple[str, ...]) -> Ended:
        ended = run(command, finished)
        assert ended.code == 0, ended.err
        return ended

    return lambda command: printed(tuple(command))


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    stop_in_training(folder)
    (folder / "runs/a/log.txt").write_text(LOG)
    (folder / "runs/a/events.ndjson.lock").write_bytes(LOCK)
    return folder


def stop_in_training(folder: Path) -> None:
    """Stop a training in its second epoch; one that was too fast is tried again."""
    while True:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        started, journal = Started([TRAIN], folder), folder / "runs/a/events.ndjson"
        while started.process.is_alive() and not (journal.exists() and b'"event":"epoch"' in journal.read_bytes()):
            time.sleep(0.002)
        started.send(signal.SIGTERM)
        if started.wait()[0].code == 128 + signal.SIGTERM:
            return


@pytest.mark.parametrize(("kind", "number"), forms(FILES, {"journal": 1}, 100))
def test_readers(kind: str, number: int, finished: Path, truth: Truth, attempt: Try, at: Path):
    def read(file: Path, damage: Damage) -> Outcome:
        damaged(finished, at, file, damage)
        before = contents(at)
        outcomes = [
            judged(ended, truth(command), file, damage)
            for ended, command in zip(run_all(READERS, at), READERS, strict=False)
        ]
        changed = differences(contents(at), before)
        return worst([*outcomes, (LOST, f"a reading command changes {changed[0]}") if changed else FINE])

    attempt(trials("reading", finished, kind, number, read))


@pytest.mark.parametrize(("kind", "number"), forms(FILES, {}, 20))
def test_rebuild(kind: str, number: int, finished: Path, truth: Truth, attempt: Try, at: Path):
    def rebuild(file: Path, damage: Damage) -> Outcome:
        damaged(finished, at, file, damage)
        ended = run(REBUILD, at)
        outcome = judged(ended, truth(REBUILD), file, damage)
        if ended.code == 0:
            missing = differences(results(at / "runs/a"), results(finished / "runs/a"))
            reported = file.name in ended.err or in_last_line(file, damage)
            return worst(
                [outcome, (LOST, f"leaves out {missing[0]} without a word") if missing and not reported else FINE]
            )
        return outcome

    attempt(trials("rebuild", finished, kind, number, rebuild))


@pytest.mark.parametrize(("case", "number"), forms(product(WORKERS, FILES), {("sweep", "shard"): 1}, 15))
def test_workers(case: tuple[str, str], number: int, finished: Path, truth: Truth, attempt: Try, at: Path):
    worker, kind = case
    command = WORKERS[worker]

    def work(file: Path, damage: Damage) -> Outcome:
        path, data = damaged(finished, at, file, damage)
        ended = run(command, at)
        outcome = judged(ended, truth(command), file, damage)
        if ended.code == 0:
            return outcome
        path.write_bytes(data)
        return worst([outcome, still(run(command, at), truth(command), path)])

    attempt(trials(worker, finished, kind, number, work))


@pytest.mark.parametrize(("kind", "number"), forms([kind for kind in FILES if kind != "shard"], {}, 15))
def test_resume(kind: str, number: int, stopped: Path, work_of: WorkOf, attempt: Try, at: Path):
    whole = work_of("training").truth

    def resume(file: Path, damage: Damage) -> Outcome:
        path, data = damaged(stopped, at, file, damage)
        ended = run(RESUME, at)
        outcome = judged(ended, ended, file, damage)
        if ended.code == 0:
            different = differences(measured(at / "runs/a"), whole)
            reported = path.name in ended.err or in_last_line(file, damage)
            silent = (LOST, f"resumes without a word, and {', '.join(different[:3])} differ")
            return worst([outcome, silent if different and not reported else FINE])
        path.write_bytes(data)
        again = run(RESUME, at)
        same = again.code == 0 and not differences(measured(at / "runs/a"), whole)
        return worst([outcome, FINE if same else (LOST, f"with {path.name} restored: {again.err[-200:]}")])

    attempt(trials("resume", stopped, kind, number, resume))


def trials(what: str, start: Path, kind: str, number: int, one: Callable[[Path, Damage], Outcome]) -> Iterator[Trial]:
    """Trials on files of a kind in the run `a`."""
    draw = random.Random(f"{SEED} {kind}")
    files = sorted(file for file in (start / "runs/a").glob(FILES[kind]) if file.stat().st_size)
    for _ in range(number):
        file = draw.choice(files)
        damage = Damage.draw(file, draw)
        yield trial(f"damaged {kind}", f"{what}, {file.name}: {damage}", one(file, damage))


def damaged(start: Path, at: Path, file: Path, damage: Damage) -> tuple[Path, bytes]:
    """Copy `start` to `at` and damage its `file`; return the file and its old content."""
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(start, at)
    path, data = at / file.relative_to(start), file.read_bytes()
    path.write_bytes(damage.do(data))
    os.utime(path, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))  # runs are listed in the order of their times
    return path, data


def judged(ended: Ended, truth: Ended, file: Path, damage: Damage) -> Outcome:
    """What a command says of the damaged file; the clock and a torn last line excuse other numbers."""
    outcome = reading(ended, truth, names(file))
    excused = in_last_line(file, damage) or ended.command.startswith("afdctl watch --once")
    return FINE if outcome[0] == LOST and excused else outcome


def still(ended: Ended, truth: Ended, path: Path) -> Outcome:
    """Judge whether a command gives the true numbers after the file is restored, so nothing else was damaged."""
    if ended.code == 0 and reading(ended, truth, []) == FINE:
        return FINE
    return LOST, f"with {path.name} restored, `{short(ended)}` exits {ended.code}: {ended.err[-200:]}"


def in_last_line(file: Path, damage: Damage) -> bool:
    """Whether only the journal's last line is damaged, which may be lost as a torn one is."""
    return file.name == "events.ndjson" and file.read_bytes().count(b"\n", damage.place) <= 1


def names(file: Path) -> list[str]:
    """Words that name the file in a message."""
    folder = file.parent.name
    return [file.name, *([folder] if folder in ("checkpoints", "shards") else [])]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of the runs' files, without results.h5, which may be rebuilt, and locks, which have a pid."""
    files = (file for file in (folder / "runs").rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != "results.h5"}
