"""`--nproc`: start the processes of one training with torch's own launcher, the one behind torchrun."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import typer

from afdctl import user_code
from afdctl.errors import AfdctlError, RecipeError, SilentError

if TYPE_CHECKING:
    from afdctl.recipe import Recipe

# Set once this command has named the code that it executes: its processes do not name it again.
ANNOUNCED: Final = "AFDCTL_ANNOUNCED"
# The processes save a checkpoint within this time after a signal; then they are killed. torch's default is 30.
SHUTDOWN_SECONDS: Final = "120"


def inside_torchrun() -> bool:
    """Return whether torchrun, or `--nproc`, has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def first_reports() -> Iterator[None]:
    """Of the processes that torchrun has started, let the first alone print what all would print in the block."""
    if ANNOUNCED in os.environ:
        user_code.announcers.clear()
    if os.environ.get("RANK", "0") == "0" or not inside_torchrun():
        yield
        return
    user_code.announcers.clear()
    try:
        yield
    except AfdctlError as error:
        raise SilentError(error.exit_code) from error


def check_options(nproc: int, *, tui: bool | None, detach: bool, seeds: str | None) -> None:
    """Raise RecipeError for options that contradict several processes."""
    if nproc > 1 and inside_torchrun():
        raise RecipeError("--nproc: torchrun has started the processes already; leave --nproc out")
    if nproc == 1 and not inside_torchrun():
        return
    command = "torchrun" if inside_torchrun() else "--nproc"
    if tui or detach:
        name = "--tui" if tui else "--detach"
        raise RecipeError(f"{name}: not with {command}; leave it out, and `afdctl watch latest` shows the training")
    if seeds is not None:
        raise RecipeError(f"--seeds: not with {command}, which trains one run; use --set seed=N")


def run(nproc: int, device: str | None, recipe: "Recipe | None" = None) -> None:
    """Run this command on `nproc` processes and end as the first one that failed.

    Errors: RecipeError for more processes than GPUs, or a batch that cannot be divided among them.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from afdctl.training.distributed import LAUNCHED, check_batch, uses_gpus

    uses_gpus(device, nproc)
    if recipe:
        check_batch(recipe, nproc)
        os.environ[ANNOUNCED] = "1"
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_SECONDS)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # its report of a failure has 20 lines; the failed process has printed its own
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        # no folder for log files: the processes print to this terminal
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "afdctl", *without_nproc(sys.argv[1:]))
    except SignalException as stop:
        raise typer.Exit(128 + stop.sigval) from None
    except ChildFailedError as failed:
        report({rank: failure.exitcode for rank, failure in failed.failures.items()})


def report(codes: dict[int, int]) -> None:
    """End with the exit code of the process that caused the end, and name the signal of one that was killed."""
    from signal import Signals

    from afdctl.training.distributed import LOST, LOST_CODE

    # the others end with 1 because they miss that one, or by the launcher's SIGTERM
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != 15}
    if killed:
        rank, number = next(iter(killed.items()))
        name = str(number)
        with suppress(ValueError):
            name = Signals(number).name
        raise AfdctlError(
            f"process {rank} was ended by {name}, and the training with it; resume with `afdctl train --resume latest`"
        )
    if all(code in (LOST_CODE, -15) for code in codes.values()):
        raise AfdctlError(LOST)
    raise typer.Exit(next((code for code in codes.values() if code > 1 and code != LOST_CODE), 1))


def without_nproc(arguments: list[str]) -> list[str]:
    """Return a command line without its --nproc."""
    kept: list[str] = []
    follows = False
    for argument in arguments:
        if not follows and argument != "--nproc" and not argument.startswith("--nproc="):
            kept.append(argument)
        follows = argument == "--nproc"
    return kept
