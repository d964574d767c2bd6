"""Folders of runs: names, claiming one for a new run, and removal."""

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from afdctl.errors import (
    AfdctlError,
    BusyError,
    CorruptError,
    DiskFullError,
    NotFoundError,
    RecipeError,
    file_errors,
    option,
)
from afdctl.formatting import shorten
from afdctl.journal import Journal, check_not_busy, read_rows
from afdctl.journal.rows import STEP_LINE
from afdctl.runs import files

RUN: Final = "run.json"
JOURNAL: Final = "events.ndjson"
LOCKS: Final = (f"{JOURNAL}.lock", f"{JOURNAL}.claim")
# Begins the name of the file that a driver of Ray keeps and renews in a folder of runs while it works.
DRIVER: Final = ".ray-"
# One that is older is a dead driver's.
DRIVER_SECONDS: Final = 60.0
# What a training may have written before its first step.
FILES_BEFORE_FIRST_STEP: Final = ("recipe.toml", "log.txt")
FOLDERS_BEFORE_FIRST_STEP: Final = ("checkpoints", "code")
# What makes that a run; run.json is the first to be written and the last to be removed.
FILES_OF_A_RUN: Final = ("results.h5", RUN)
FIRST_CHECKPOINT: Final = re.compile(r"last|best|step-0+-\w+\.pt")
# Longest name of a run in bytes: names of its files and exports contain it.
MAX_NAME_BYTES: Final = 100
# Room in a name for the number of the run.
NUMBER_BYTES: Final = 20


def is_driven(root: Path) -> bool:
    """Return whether a driver of Ray works in a folder of runs, perhaps before the first one has begun."""
    with suppress(OSError):
        return any(time.time() - file.stat().st_mtime < DRIVER_SECONDS for file in root.glob(f"{DRIVER}*"))
    return False


def runs_option(root: Path) -> str:
    """Return the option that a command in a message needs for a folder of runs, after a space; empty for ./runs."""
    return "" if root == Path("runs") else f" --runs {shlex.quote(str(root))}"


def name_fault(name: str) -> str | None:
    """Return why a run cannot have this name, or None."""
    if name in ("", "latest"):
        return "not a name for a run"
    if name[0] in "-.":
        return f"begins with '{name[0]}'"
    if wrong := [char for char in name if not _is_allowed(char)]:
        return f"has {wrong[0]!r} in it"
    return f"has more than {MAX_NAME_BYTES} bytes" if len(name.encode()) > MAX_NAME_BYTES else None


def name_stem(file_stem: str) -> str:
    """Turn the stem of a recipe's file into the beginning of a run's name."""
    plain = "".join(char if _is_allowed(char) else "-" for char in file_stem).lstrip("-.")
    return plain.encode()[: MAX_NAME_BYTES - NUMBER_BYTES].decode(errors="ignore") or "run"


def _is_allowed(char: str) -> bool:
    # a shell, and a list of runs, would split a name at a space
    return char.isalnum() or char in "-_."


@contextmanager
def leaving_no_empty_folder(root: Path) -> Iterator[None]:
    """On leaving, remove a folder of runs and its parents if they were made meanwhile and are empty."""
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


@contextmanager
def claimed(root: Path, stem: str, name: str | None) -> Iterator[tuple[Path, Journal]]:
    """Claim a folder for a new run as `claim` does, and hold its journal; leaves no folder of runs that is empty."""
    with leaving_no_empty_folder(root):
        folder, journal = claim(root, stem, name)
        with journal:
            yield folder, journal


def claim(root: Path, stem: str, name: str | None) -> tuple[Path, Journal]:
    """Make the folder `root/<name>` or `root/<stem>-<number>` for a new run; return it and its open, empty journal.

    A folder in which nothing was trained is used again, also that of a run that failed before its first step. Errors:
    RecipeError for an invalid or used name, BusyError, DiskFullError.
    """
    if name is not None and (reason := name_fault(name)):
        shown = f"'{shorten(name)}'"
        raise RecipeError(f"{option('name', shown)}: {reason}; use letters, digits, '-' and '_'")
    stem = name_stem(stem)
    try:
        with file_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        if name is None:
            return _claim_next_number(root, stem)
        journal = _claim(root / name)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise RecipeError(
            f"{error.filename}: no run can be made here ({reason}); choose another folder with {option('runs')}"
        ) from None
    if journal is None:
        raise RecipeError(
            f"{root / name}: exists; choose another {option('name')}, or resume that run with `afdctl train --resume "
            f"{root / name}`"
        )
    return root / name, journal


def _claim_next_number(root: Path, stem: str) -> tuple[Path, Journal]:
    pattern = re.compile(re.escape(stem) + r"-(\d+)")
    matches = [(path, match) for path in root.iterdir() if (match := pattern.fullmatch(path.name))]
    number = max((int(match[1]) for path, match in matches if not is_free(path)), default=0)
    while True:
        number += 1
        folder = root / f"{stem}-{number:03d}"
        # another process may claim the same number first
        with suppress(BusyError):
            if journal := _claim(folder):
                return folder, journal


def _claim(folder: Path) -> Journal | None:
    """Make a folder, or reuse one in which nothing was trained, and open its journal; None for any other folder.

    Error: BusyError if a training is about to begin in it.
    """
    file = folder / JOURNAL
    with file_errors(folder):
        is_new = not folder.exists()
        with suppress(FileExistsError):
            # with the folder of runs, which another process may just have left empty
            folder.mkdir(parents=True)
    if not is_free(folder):
        return None
    check_not_busy(file)
    try:
        journal = Journal.open(file)
    except (OSError, DiskFullError):
        # a folder that was here before may be a user's
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    # a NotFoundError too, but its journal is damaged, not of another version
    except CorruptError:
        raise
    except NotFoundError:
        return None  # another version of afdctl began a run here
    if not is_free(folder):  # another process trained here before we got the lock
        journal.close()
        return None
    for name in (*FILES_OF_A_RUN, *FILES_BEFORE_FIRST_STEP):
        (folder / name).unlink(missing_ok=True)
    journal.clear()
    for name in FOLDERS_BEFORE_FIRST_STEP:
        shutil.rmtree(folder / name, ignore_errors=True)
    return journal


def is_free(folder: Path) -> bool:
    """Whether a new run may take a folder: nothing was trained there, and no run there could be resumed."""
    if never_trained(folder):
        return True
    if not (folder / JOURNAL).exists() or not has_no_step(folder):
        return False
    try:
        *_, last = ({}, *read_rows(folder / JOURNAL))
    except AfdctlError:
        return False  # damaged, or of another version
    # where it failed it would fail again
    return last.get("event") == "end" and last["reason"] == "failed"


def never_trained(folder: Path) -> bool:
    """Whether a folder holds only what a training leaves that ends before it is a run."""
    return not any((folder / name).exists() for name in FILES_OF_A_RUN) and has_no_step(folder)


def has_no_step(folder: Path) -> bool:
    """Whether a folder holds only what a training leaves that ends before its first step, a run or not."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir() if not files.is_temporary(path)}
    if names and f"{JOURNAL}.lock" not in names:
        return False  # no training made these files
    checkpoints = [path.name for path in folder.glob("checkpoints/*") if not files.is_temporary(path)]
    written = {JOURNAL, *FILES_BEFORE_FIRST_STEP, *FOLDERS_BEFORE_FIRST_STEP, *FILES_OF_A_RUN}
    if not all(name.startswith(LOCKS) for name in names - written) or not all(
        map(FIRST_CHECKPOINT.fullmatch, checkpoints)
    ):
        return False
    # only steps are worth keeping: everything before them can be written again
    return JOURNAL not in names or STEP_LINE not in (folder / JOURNAL).read_bytes()


def check_removable(folder: Path) -> None:
    """Raise BusyError if a process writes the run, RecipeError if the folder is a link."""
    if folder.absolute().is_symlink():
        raise RecipeError(
            f"{folder}: a link to {folder.resolve()}; name that folder to remove the run, or unlink the link"
        )
    check_not_busy(folder / JOURNAL)


def remove(folder: Path) -> None:
    """Remove a run and all its files, without following links.

    Errors: those of `check_removable`, AfdctlError if a part of it cannot be removed.
    """
    check_removable(folder)
    folder = folder.resolve()
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
    # two atomic steps: after a kill between any two lines the folder is a whole run or none
    folder.rename(hidden)
    (hidden / RUN).unlink()
    shutil.rmtree(hidden, ignore_errors=True)
    if hidden.exists():
        raise AfdctlError(f"{hidden}: a part of run {folder.name} could not be removed; remove this folder by hand")
