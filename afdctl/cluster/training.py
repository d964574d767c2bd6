"""Make the run of a cell exist: train it, resume it, or find it finished. The one task of a grid, here or on a node."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from afdctl.cluster.cells import BUSY, DIVERGED, FAILED, FINISHED, CellRun, Outcome, end_of
from afdctl.errors import AfdctlError, BusyError, DiskFullError, DivergedError, RecipeError, StoppedError
from afdctl.runs.run import Run
from afdctl.training import setup

# These end the whole grid: every other cell would end in the same way.
GENERAL = (StoppedError, DiskFullError)


def make_exist(cell: CellRun, *, device: str | None, data_dir: Path | None, on_line: Callable[[str], None]) -> Outcome:
    """Train or resume the run of a cell, unless it has ended; return how it ended.

    Errors: StoppedError after a signal, when the training has been saved, and DiskFullError.
    """
    if end := end_of(cell.run):
        return end
    # a resumed training takes as many threads as it began with, the next cell those of this process
    threads = torch.get_num_threads()
    try:
        _train(cell, device=device, data_dir=data_dir, on_line=on_line)
    except GENERAL:
        raise
    except BusyError as error:
        return Outcome(BUSY, error.exit_code, str(error))
    except AfdctlError as error:
        return Outcome(DIVERGED if isinstance(error, DivergedError) else FAILED, error.exit_code, str(error))
    finally:
        torch.set_num_threads(threads)
    return Outcome(FINISHED, trained=True)


def _train(cell: CellRun, *, device: str | None, data_dir: Path | None, on_line: Callable[[str], None]) -> None:
    run = cell.run
    with ExitStack() as stack:
        if not run.exists:
            try:
                _, journal = stack.enter_context(Run.begin(run.path.parent, run.name, run.name))
            except RecipeError:
                # another process has begun it since
                if not run.exists:
                    raise
            else:
                place = setup.choose_device(device or "auto")
                setup.start(cell.cell.recipe, run, journal, device=place, data_dir=data_dir, on_line=on_line)
                return
        setup.resume(run, device=device, data_dir=data_dir, on_line=on_line)
