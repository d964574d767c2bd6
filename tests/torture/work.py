"""The work of the torture tests: a training, a sweep and an analysis of about a second each."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.judge import FINE, Outcome, crash, differences, measured, refusal, trial, worst
from tests.torture.process import OUTPUT, Ended, run, run_all
from tests.torture.tally import LOST, Trial

SETTINGS = [
    "train.epochs=3",
    "train.batch_size=64",
    "train.milestones=[2]",
    "train.report_every=5",
    "model.width=4",
    "attack.steps=2",
    "validation.steps=2",
    "validation.limit=64",
    "test.steps=2",
    "test.limit=64",
]
TRAIN = [
    "train",
    "digits_wgan",
    "--no-tui",
    "--name",
    "a",
    "--device",
    "cpu",
    *(word for setting in SETTINGS for word in ("--set", setting)),
]
RESUME = ["train", "--resume", "a", "--no-tui"]
SWEEP = [
    "sweep",
    "a",
    "--attacks",
    "fgsm,pgd_linf",
    "--epsilons",
    "0,0.05,0.1",
    "--set",
    "steps=5",
    "--limit",
    "64",
    "--device",
    "cpu",
]
ANALYZE = [
    "analyze",
    "a",
    "--pca",
    "--units",
    "--norms",
    "--epsilons",
    "0,0.1",
    "--limit",
    "64",
    "--device",
    "cpu",
]
COMMANDS = {"training": TRAIN, "sweep": SWEEP, "analysis": ANALYZE}
"""Each work starts from what the one before it left."""
READERS = [["runs", "ls"], ["runs", "show", "a"], ["watch", "--once", "a"]]


@dataclass(frozen=True)
class Work:
    """A command, the folder that it starts from (None: an empty one), and its result when it is not disturbed.

    `done` is the folder where nothing did, and `seconds` is what that took.
    """

    name: str
    command: list[str]
    start: Path | None
    done: Path
    truth: dict[str, Any]
    seconds: float

    def folder(self, at: Path) -> Path:
        """Make a fresh folder for the command."""
        shutil.rmtree(at, ignore_errors=True)
        if self.start:
            shutil.copytree(self.start, at, symlinks=True)
        else:
            at.mkdir(parents=True)
        return at

    def finish(self, folder: Path) -> Outcome:
        """Run the command again after a disturbance; it must finish and find what an undisturbed one finds."""
        ended = self.again(folder)
        if bad := crash(ended):
            return bad
        if ended.code != 0:
            return LOST, f"afterwards `{ended.command.split(' --')[0]}` exits {ended.code}: {ended.err.strip()[-300:]}"
        if found := differences(measured(folder / "runs/a"), self.truth):
            return LOST, f"other results afterwards: {', '.join(found[:4])}"
        return FINE

    def again(self, folder: Path) -> Ended:
        """Run the command again; a training resumes, or starts where nothing had begun."""
        if self.name != "training":
            return run(self.command, folder)
        if (folder / "runs/a").exists():
            ended = run(RESUME, folder)
            if ended.code == 0 or crash(ended):
                return ended
        return run(self.command, folder)


def make(name: str, command: list[str], start: Path | None, folder: Path) -> Work:
    """Run the work undisturbed in `folder`, and keep its result."""
    run(["--version"], folder.parent)  # the fork server imports the program: no part of what a work takes
    if start:
        shutil.copytree(start, folder, dirs_exist_ok=True)
    began = time.monotonic()
    ended = run(command, folder)
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.err
    shutil.rmtree(folder / OUTPUT)
    return Work(name, command, start, folder, measured(folder / "runs/a"), seconds)


def readable(folder: Path, names: Sequence[str] = ()) -> Outcome:
    """Whether the commands that read a run do so, or refuse in one line."""
    return worst(refusal(ended, names) if ended.code else crash(ended) or FINE for ended in run_all(READERS, folder))


Disturb = Callable[[Path], Outcome | None]
"""Returns None where it came too late, or met nothing."""


def disturbed(work: Work, at: Path, disturb: Disturb) -> Outcome | None:
    """Disturb a work in a fresh folder, read the run, finish the work; the worst of what came, None for no hit."""
    folder = work.folder(at)
    met = disturb(folder)
    outcome = met and worst([met, readable(folder), work.finish(folder)])
    shutil.rmtree(folder)
    return outcome


def trials(
    kind: str, work: Work, at: Path, disturbances: Iterable[tuple[str, Disturb]], number: int
) -> Iterator[Trial]:
    """Disturb a work in one way after the other until `number` of them were hits; others are no trials."""
    tried = 0
    for done, disturb in disturbances:
        if tried == number:
            return
        if outcome := disturbed(work, at, disturb):
            tried += 1
            yield trial(kind, done, outcome)
