"""Folders for runs to come: their names, who gets them, and when they are free again."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

from afdctl.errors import BusyError, DiskFullError, RecipeError
from afdctl.formatting import shorten
from afdctl.journal import Journal, check_not_busy, named
from afdctl.runs import files

JOURNAL = "events.ndjson"
BEGUN = {JOURNAL, f"{JOURNAL}.lock", "recipe.toml", "checkpoints", "log.txt"}
"""What a training may have made before its first step."""
FIRST = re.compile(r"last|best|step-0+-\w+\.pt")
"""What is in the folder of checkpoints before the first step."""
NO_NAMES = {"", "latest"}
NAME_BYTES = 100
"""The longest name of a run: files of a run and of its exports have it in theirs."""


def name_fault(name: str) -> str | None:
    """Say why a run cannot have this name; None where it can."""
    if name in NO_NAMES:
        return "not a name for a run"
    if name[0] in "-.~":
        return f"begins with '{name[0]}'"
    if wrong := [char for char in name if char in "/:" or not char.isprintable()]:
        return f"has {wrong[0]!r} in it"
    return f"has more than {NAME_BYTES} bytes" if len(name.encode()) > NAME_BYTES else None


def as_name(stem: str) -> str:
    """The name of a file as the beginning of a run's name."""
    plain = "".join("-" if char in "/:" or not char.isprintable() else char for char in stem).lstrip("-.~")
    # less than a whole name: a number comes behind it
    return plain.encode()[: NAME_BYTES - 20].decode(errors="ignore") or "run"


def begin(root: Path, stem: str, name: str | None) -> tuple[Path, Journal]:
    """The folder of a run to come, and its journal, empty and open."""
    if name is not None and (reason := name_fault(name)):
        raise RecipeError(f"--name '{shorten(name)}': {reason}; use letters, digits, '-' and '_'")
    stem = as_name(stem)
    try:
        with named(root):
            root.mkdir(parents=True, exist_ok=True)
        if name is None:
            return _take_next_number(root, stem)
        journal = _take(root / name)
    except OSError as error:
        words = (error.strerror or "unknown reason").lower()
        raise RecipeError(
            f"{error.filename}: no run can be made here ({words}); choose another folder with --runs"
        ) from None
    if journal is None:
        raise RecipeError(f"{root / name}: exists; choose another --name, or continue that run with --resume")
    return root / name, journal


def _take_next_number(root: Path, stem: str) -> tuple[Path, Journal]:
    pattern = re.compile(re.escape(stem) + r"-(\d+)")
    matches = [(path, match) for path in root.iterdir() if (match := pattern.fullmatch(path.name))]
    number = max((int(match[1]) for path, match in matches if not never_trained(path)), default=0)
    while True:
        number += 1
        folder = root / f"{stem}-{number:03d}"
        # another process may want the same number, and be faster
        with suppress(BusyError):
            if journal := _take(folder):
                return folder, journal


def _take(folder: Path) -> Journal | None:
    """Make a folder, or take one in which nothing was trained, and open its journal; None for any other folder.

    Error: BusyError where a training is about to begin in it.
    """
    file = folder / JOURNAL
    with named(folder):
        made = not folder.exists()
        with suppress(FileExistsError):
            folder.mkdir()
    if not never_trained(folder):
        return None
    check_not_busy(file)
    try:
        journal = Journal.open(file)
    except (OSError, DiskFullError):
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if not never_trained(folder):  # until the lock was ours
        journal.close()
        return None
    journal.clear()
    for left in (folder / "recipe.toml", folder / "log.txt"):
        left.unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return journal


def never_trained(folder: Path) -> bool:
    """Whether a folder holds no more than what a training leaves that ends before its first step."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir() if not files.is_temporary(path)}
    if names and f"{JOURNAL}.lock" not in names:
        return False  # no training made these files
    saved = [path.name for path in folder.glob("checkpoints/*") if not files.is_temporary(path)]
    if names - BEGUN or not all(map(FIRST.fullmatch, saved)):
        return False
    return JOURNAL not in names or b'{"event":"step"' not in (folder / JOURNAL).read_bytes()
