"""What a run takes on the disk, and how it goes from there."""

import os
import shutil
from pathlib import Path

from afdctl.errors import AfdctlError, RecipeError
from afdctl.journal import check_not_busy
from afdctl.runs.run import Run

PARTS = ("checkpoints", "shards", "results.h5", "events.ndjson", "log.txt")


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what a link points to does not count, nor what just vanished."""
    total = 0
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except NotADirectoryError:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def parts(run: Run) -> dict[str, int]:
    """Bytes of each part of a run."""
    return {name: size(run.path / name) for name in PARTS}


def refuse_removal(run: Run) -> None:
    """BusyError where a process writes the run; RecipeError for a link, whose run lies elsewhere."""
    if run.path.absolute().is_symlink():
        raise RecipeError(
            f"{run.path}: a link to {run.path.resolve()}; name that folder to remove the run, or unlink the link"
        )
    check_not_busy(run.journal_path)


def remove(run: Run) -> None:
    """Remove a run: at once for all who look for runs, then from the disk, without following links.

    Errors: those of `refuse_removal`, AfdctlError where a part of it cannot be removed.
    """
    refuse_removal(run)
    folder = run.path.resolve()
    going = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
    folder.rename(going)
    # without it a folder is no run, so nobody meets half of one if this process is killed
    (going / "run.json").unlink()
    shutil.rmtree(going, ignore_errors=True)
    if going.exists():
        raise AfdctlError(f"{going}: a part of run {folder.name} could not be removed; remove this folder by hand")
