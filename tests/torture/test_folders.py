"""Odd image folders: they train, or are refused in one line; nothing hangs, and nothing reaches the terminal raw."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.conftest import Try
from tests.torture.folders import CASES, SIDE
from tests.torture.judge import FINE, Outcome, crash, refusal, short, trial, worst
from tests.torture.process import Ended, run, run_all
from tests.torture.tally import UNCLEAR, Trial
from tests.torture.work import READERS

FEW = ["fifo", "escapes_in_a_class"]
SETTINGS = [
    "data.path=images",
    f"data.image_size={SIDE}",
    "data.holdout=8",
    "train.epochs=1",
    "train.batch_size=8",
    "train.milestones=[]",
    "model.encoder=lenet",
    "model.width=4",
    "attack.steps=1",
    "validation.steps=1",
    "test.steps=1",
    "test.square_queries=0",
    "data.augment=none",
    "train.ema_decay=0",
]
TRAIN = [
    "train",
    "folder_wgan",
    "--no-tui",
    "--name",
    "a",
    "--device",
    "cpu",
    *(word for setting in SETTINGS for word in ("--set", setting)),
]


@pytest.mark.parametrize(
    "chosen", [pytest.param(FEW, id="short"), pytest.param(list(CASES), id="full", marks=pytest.mark.torture)]
)
def test_folders(chosen: list[str], attempt: Try, at: Path):
    def trials() -> Iterator[Trial]:
        for name in chosen:
            shutil.rmtree(at, ignore_errors=True)
            at.mkdir()
            wanted = CASES[name](at / "images")
            yield trial("odd image folder", name, outcome(wanted, at))

    attempt(trials())


def outcome(wanted: str | None, folder: Path) -> Outcome:
    """Judge a training on the folder: it must train if `wanted` is None, else the refusal must contain that name."""
    ended = run(TRAIN, folder)
    outcomes = [raw(ended)]
    if wanted is None:
        outcomes += [crash(ended) or (FINE if ended.code == 0 else (UNCLEAR, f"does not train: {ended.err[-300:]}"))]
        outcomes += [worst([crash(read) or FINE, raw(read)]) for read in run_all(READERS, folder)]
    else:
        outcomes += [refusal(ended, [wanted])]
    return worst(outcomes)


def raw(ended: Ended) -> Outcome:
    """Whether control characters of a name are printed unescaped."""
    odd = {char for char in ended.out + ended.err if (ord(char) < 32 and char != "\n") or char == "\x7f"}
    return (UNCLEAR, f"`{short(ended)}` prints {sorted(map(repr, odd))} raw") if odd else FINE


@pytest.mark.parametrize(("text", "fine"), [("plain\nlines\n", True), ("\x1b[31m", False), ("a\rb", False)])
def test_raw_output_is_seen(text: str, fine: bool):
    assert (raw(Ended("afdctl", 0, text, "")) == FINE) == fine
