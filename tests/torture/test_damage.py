"""One flipped bit or a cut in any file of a run: every command gives the true numbers, or names the file."""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.torture.conftest import Count, Try
from tests.torture.flips import Damage, damages
from tests.torture.judge import FINE, Outcome, differences, measured, reading, short, trial, worst
from tests.torture.process import Ended, Started, run, run_all
from tests.torture.tally import LOST, Trial
from tests.torture.work import ANALYZE, RESUME, SWEEP, TRAIN, Work

SEED = 4
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
    ["runs", "ls", "--json"], ["runs", "show", "a", "--json"], ["runs", "compare", "a", "b", "--all", "--json"],
    ["watch", "a"], ["watch", "--once", "a"], ["export", "a", "--table", "1", "--json"],
    ["export", "a", "--events", "json"], ["export", "a", "--cells", "json"], ["export", "a", "--report", "page.html"],
    ["runs", "rebuild", "a"],
]  # fmt: skip
WORKERS = {
    "sweep": [*SWEEP, "--json"],
    "analyze": [*ANALYZE, "--json"],
    "weights": ["export", "a", "--weights", "safetensors", "--out", "w.safetensors"],
}
BY_CLOCK = {"watch --once"}
"""Commands that show the clock and the machine beside the numbers: only their endings are compared."""


@dataclass(frozen=True)
class Bench:
    """A finished run `a` with all that it may hold and its copy `b`; and the same run, stopped in training."""

    finished: Path
    stopped: Path
    truth: dict[str, Ended]

    def damaged(self, start: Path, at: Path, file: Path, damage: Damage) -> tuple[Path, bytes]:
        """A copy of `start` at `at` with the damage done to its `file`, and what the file held."""
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(start, at)
        path = at / file.relative_to(start)
        data = path.read_bytes()
        path.write_bytes(damage.do(data))
        return path, data


@pytest.fixture(scope="module")
def bench(works: dict[str, Work], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    finished, stopped = tmp_path_factory.mktemp("bench") / "finished", works["training"].folder(tmp_path_factory.mktemp("s"))
    start = works["analysis"]
    assert start.start
    shutil.copytree(start.start, finished)
    assert run(ANALYZE, finished).code == 0
    (finished / "runs/a/log.txt").write_text("a library printed this\n" * 20)
    shutil.copytree(finished / "runs/a", finished / "runs/b")
    stop_in_training(stopped)
    truth = [*run_all(READERS, finished), *(run(command, finished) for command in WORKERS.values())]
    assert not any(ended.code for ended in truth), truth
    return Bench(finished, stopped, {short(ended): ended for ended in truth})


def stop_in_training(folder: Path) -> None:
    """Stop a training in its second epoch, and let its log.txt hold words."""
    while True:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        started, journal = Started([TRAIN], folder), folder / "runs/a/events.ndjson"
        while started.process.is_alive() and not (journal.exists() and b'"event":"epoch"' in journal.read_bytes()):
            time.sleep(0.002)
        started.send(signal.SIGTERM)
        if started.wait()[0].code == 128 + signal.SIGTERM:
            break
    (folder / "runs/a/log.txt").write_text("a library printed this\n" * 20)


@pytest.mark.parametrize("kind", FILES)
def test_readers(kind: str, bench: Bench, count: Count, attempt: Try, at: Path):
    number = count(1 if kind in ("run.json", "journal", "checkpoint") else 0, 100)

    def trials() -> Iterator[Trial]:
        for file, damage in places(bench.finished, kind, number):
            path, _ = bench.damaged(bench.finished, at, file, damage)
            before = contents(at)
            ended = run_all(READERS[:-1], at)
            outcomes = [judged(one, bench.truth, file, damage) for one in ended]
            if changed := differences(contents(at), before):
                outcomes.append((LOST, f"reading commands changed {changed[0]}"))
            yield trial(f"damaged {kind}, reading", f"{path.name}: {damage}", worst(outcomes))

    attempt(trials())


@pytest.mark.parametrize("kind", FILES)
def test_rebuild(kind: str, bench: Bench, count: Count, attempt: Try, at: Path):
    number = count(0, 20)
    truth = measured(bench.finished / "runs/a")

    def trials() -> Iterator[Trial]:
        for file, damage in places(bench.finished, kind, number):
            bench.damaged(bench.finished, at, file, damage)
            ended = run(READERS[-1], at)
            outcome = judged(ended, bench.truth, file, damage)
            if outcome == FINE and ended.code == 0 and kind not in ("checkpoint", "pointer"):
                missing = differences(measured(at / "runs/a"), truth)
                if missing and not (names(file)[0] in ended.err or in_last_line(file, damage)):
                    outcome = LOST, f"rebuild leaves out {missing[0]} without a word"
            yield trial(f"damaged {kind}, rebuild", f"{file.name}: {damage}", outcome)

    attempt(trials())


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("worker", WORKERS)
def test_workers(kind: str, worker: str, bench: Bench, count: Count, attempt: Try, at: Path):
    number = count(int((kind, worker) in (("shard", "sweep"), ("checkpoint", "weights"))), 15)

    def trials() -> Iterator[Trial]:
        for file, damage in places(bench.finished, kind, number):
            path, data = bench.damaged(bench.finished, at, file, damage)
            ended = run(WORKERS[worker], at)
            outcome = judged(ended, bench.truth, file, damage)
            if ended.code != 0:
                path.write_bytes(data)
                ended = run(WORKERS[worker], at)
                if ended.code != 0 or reading(ended, bench.truth[short(ended)], []) != FINE:
                    outcome = worst([outcome, (LOST, f"with {path.name} restored, `{short(ended)}` differs: {ended.err}")])
            yield trial(f"damaged {kind}, {worker}", f"{path.name}: {damage}", outcome)

    attempt(trials())


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "shard"])
def test_resume(kind: str, bench: Bench, works: dict[str, Work], count: Count, attempt: Try, at: Path):
    number = count(int(kind == "checkpoint"), 15)

    def trials() -> Iterator[Trial]:
        for file, damage in places(bench.stopped, kind, number):
            path, data = bench.damaged(bench.stopped, at, file, damage)
            ended = run(RESUME, at)
            outcome = judged(ended, {short(ended): ended}, file, damage)
            if ended.code != 0:
                path.write_bytes(data)
                ended = run(RESUME, at)
            different = differences(measured(at / "runs/a"), works["training"].truth)
            if ended.code != 0 or different:
                said = path.name in ended.err or in_last_line(file, damage)
                left = f"{different[:3]} differ after the resume: {ended.err[-200:]}"
                outcome = outcome if ended.code == 0 and said else worst([outcome, (LOST, left)])
            yield trial(f"damaged {kind}, resume", f"{path.name}: {damage}", outcome)

    attempt(trials())


def places(start: Path, kind: str, number: int) -> Iterator[tuple[Path, Damage]]:
    """Files of the kind in the run `a`, each with a damage."""
    draw = random.Random(f"{SEED} {kind}")
    files = sorted(file for file in (start / "runs/a").glob(FILES[kind]) if file.stat().st_size)
    for _ in range(number):
        file = draw.choice(files)
        yield file, damages(file, draw, 1)[0]


def judged(ended: Ended, truth: dict[str, Ended], file: Path, damage: Damage) -> Outcome:
    outcome = reading(ended, truth[short(ended)], names(file))
    harmless = any(word in ended.command for word in BY_CLOCK) or in_last_line(file, damage)
    return FINE if outcome[0] == LOST and harmless else outcome


def in_last_line(file: Path, damage: Damage) -> bool:
    """Whether only the journal's last line is damaged, which may be lost as a torn one is."""
    return file.name == "events.ndjson" and file.read_bytes().count(b"\n", damage.place) <= 1


def names(file: Path) -> list[str]:
    """Words that name the file in a message."""
    folder = file.parent.name
    return [file.name, *([folder] if folder in ("checkpoints", "shards") else [])]


def contents(folder: Path) -> dict[str, bytes]:
    """What the files of the runs hold; results.h5 may be made again at any time, and the lock is whoever's who writes."""
    files = [file for file in (folder / "runs").rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if not file.match("results.h5") and not file.match("*.lock")}
