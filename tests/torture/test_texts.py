"""Test mutated recipes and suites: each loads correctly, or is refused in plain lines within a second."""

import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from afdctl import cli, recipe
from afdctl.errors import AfdctlError, RecipeError
from afdctl.suites import load as suites
from tests.torture.conftest import Try
from tests.torture.forms import forms
from tests.torture.judge import FINE, Outcome, trial
from tests.torture.mutate import mutate
from tests.torture.tally import HUNG, LOST, TRACEBACK, UNCLEAR, Trial

SEED = 5
SECONDS = 1.0
DATASETS = ["digits", "mnist", "cifar10"]
COMMANDS = {
    "recipe": [["recipes", "validate"]],
    "suite": [["suites", "show", "--dataset", dataset] for dataset in DATASETS],
}


class TooSlowError(BaseException):
    """The second is over; no `except Exception` catches it."""


@pytest.mark.parametrize(("kind", "number"), forms(["recipe"], {"recipe": 40}, 2000))
def test_recipes(kind: str, number: int, tmp_path: Path, attempt: Try):
    texts = sorted({path: path.read_bytes() for path in recipe.packaged().values()}.values())
    attempt(trials(kind, texts, number, tmp_path, load_recipe))


@pytest.mark.parametrize(("kind", "number"), forms(["suite"], {"suite": 15}, 1000))
def test_suites(kind: str, number: int, tmp_path: Path, attempt: Try):
    texts = [path.read_bytes() for path in suites.packaged().values()]
    attempt(trials(kind, texts, number, tmp_path, load_suite))


def trials(
    kind: str, texts: list[bytes], number: int, folder: Path, load: Callable[[Path], Outcome]
) -> Iterator[Trial]:
    draw = random.Random(SEED)
    path = folder / f"{kind}.toml"
    for index in range(number):
        text, how = mutate(draw.choice(texts), draw)
        path.write_bytes(text)
        outcome = guarded(path, load)
        if outcome != FINE:
            shutil.copy(path, folder / f"{kind}-{index}.toml")
        yield trial(f"mutated {kind}", f"{how}: {kind}-{index}.toml of seed {SEED}", outcome)


def load_recipe(path: Path) -> Outcome:
    """A recipe that loads is the one that its dump loads as."""
    loaded = recipe.load(str(path))
    again = recipe.loads(recipe.dump(loaded))
    return FINE if again == loaded and recipe.digest(again) == recipe.digest(loaded) else (LOST, "dump and load differ")


def load_suite(path: Path) -> Outcome:
    """A suite that loads gives the same attacks each time, for data sets that it has attacks for."""
    suites.read(path)
    for dataset in DATASETS:
        loaded = suites.load(str(path), dataset)
        if suites.load(str(path), dataset) != loaded:
            return LOST, "two loads differ"
    return FINE


def guarded(path: Path, load: Callable[[Path], Outcome]) -> Outcome:
    """Judge the loading of the file."""
    try:
        with at_most(SECONDS):
            return load(path)
    except AfdctlError:
        return refused(path)
    except TooSlowError:
        return HUNG, f"takes more than {SECONDS} s"
    except Exception as error:  # noqa: BLE001
        return TRACEBACK, f"{type(error).__name__}: {str(error)[:100]}"


def refused(path: Path) -> Outcome:
    """What the command line says of the file, which it must refuse with exit code 2."""
    for arguments in COMMANDS[path.stem]:
        code, err = called([*arguments, str(path)])
        if code:
            break
    lines = err.splitlines()
    if code != RecipeError.exit_code or not all(line.startswith("error: ") for line in lines):
        return UNCLEAR, f"`afdctl {' '.join(arguments)}` exits {code}: {err[:100]}"
    return plain("\n".join(line.removeprefix("error: ") for line in lines))


def called(arguments: list[str]) -> tuple[int, str]:
    """Call the command line in this process: exit code and stderr."""
    err = StringIO()
    argv, sys.argv = sys.argv, ["afdctl", *arguments]
    try:
        with redirect_stdout(StringIO()), redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        return int(ended.code or 0), err.getvalue()
    finally:
        sys.argv = argv
    return 0, err.getvalue()


def plain(message: str) -> Outcome:
    """A refusal is one line for each problem, short enough to read, without control characters."""
    lines = message.split("\n")
    if not message or any(not line or len(line) > 1000 for line in lines):
        return UNCLEAR, f"an empty or overlong line in {message[:120]!r}"
    if odd := {char for line in lines for char in line if not char.isprintable() and char != "\u00a0"}:
        return UNCLEAR, f"the message holds {', '.join(sorted(map(repr, odd)))[:60]}"
    return FINE


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooSlowError after this many seconds of CPU time of this process."""

    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_mutates_alike(seed: int):
    assert mutate(b"[a]\nb = 1\n", random.Random(seed)) == mutate(b"[a]\nb = 1\n", random.Random(seed))
