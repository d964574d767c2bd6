"""`--nproc`: start the processes of one training with torch's own launcher, the one behind torchrun."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import typer

from afdctl import user_code
from afdctl.errors import AfdctlError, RecipeError, SilentError

if TYPE_CHECKING:
    from afdctl.cli.train_options import TrainOptions
    from afdctl.recipe import Recipe
    from afdctl.runs.run import Run

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


def check_options(options: "TrainOptions") -> None:
    """Raise RecipeError for options that contradict several processes."""
    nproc = options.nproc
    if nproc > 1 and inside_torchrun():
        raise RecipeError("--nproc: torchrun has started the processes already; leave --nproc out")
    if nproc == 1 and not inside_torchrun():
        return
    command = "torchrun" if inside_torchrun() else "--nproc"
    if options.tui or options.detach:
        from afdctl.runs.folders import runs_option

        name = "--tui" if options.tui else "--detach"
        watch = f"afdctl watch latest{runs_option(options.runs)}"
        raise RecipeError(f"{name}: not with {command}; leave it out, and `{watch}` shows the training")
    if options.seeds is not None:
        raise RecipeError(f"--seeds: not with {command}, which trains one run; use --set seed=N")


def run(options: "TrainOptions", recipe: "Recipe | None" = None, resumed: Path | None = None) -> None:
    """Run this command, which trains `recipe` or resumes a run, on `--nproc` processes; end as the first that failed.

    Errors: RecipeError for more processes than GPUs, or a batch that cannot be divided among them.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from afdctl.training.distributed import LAUNCHED, check_batch, uses_gpus

    nproc, launch_id = options.nproc, uuid4().hex
    uses_gpus(options.device, nproc)
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
        run_id=launch_id,
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
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        report(codes, resumed or begun_run(options.runs, launch_id))


def begun_run(root: Path, launch_id: str) -> Path | None:
    """Return the run that a launch has begun."""

    def is_its(facts: Mapping[str, Any]) -> bool:
        launch = facts.get("launch")
        return isinstance(launch, dict) and launch.get("id") == launch_id

    run = newest_run(root, is_its)
    return run.path if run else None


def newest_run(root: Path, is_wanted: Callable[[Mapping[str, Any]], bool]) -> "Run | None":
    """Return the newest run in a folder whose facts in run.json are wanted; a run that cannot be read is not."""
    from afdctl.runs.run import Run

    for run in reversed(Run.all(root)):
        with suppress(AfdctlError):
            if run.exists and is_wanted(run.provenance):
                return run
    return None


def report(codes: dict[int, int], path: Path | None) -> None:
    """End with the exit code of the process that caused the end, or name its signal, and the command that resumes."""
    from signal import Signals

    from afdctl.training.distributed import LOST, LOST_CODE

    # the others end with 1 because they miss that one, or by the launcher's SIGTERM
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != 15}
    if killed:
        rank, number = next(iter(killed.items()))
        name = str(number)
        with suppress(ValueError):
            name = Signals(number).name
        remedy = f"resume with `afdctl train --resume {path}`" if path else "it had not begun; repeat the command"
        raise AfdctlError(f"process {rank} was ended by {name}, and the training with it; {remedy}")
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
