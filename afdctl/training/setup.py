"""Start and resume trainings: device, data, provenance, signals, and how a training ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from afdctl import recipe
from afdctl.errors import (
    AfdctlError,
    DivergedError,
    RecipeError,
    StoppedError,
    compile_failure,
    option,
    out_of_memory,
)
from afdctl.interrupts import catch_signals
from afdctl.journal import Journal, JournalOutline
from afdctl.journal.discarding import DiscardingJournal
from afdctl.recipe import Recipe
from afdctl.runs import checkpoints
from afdctl.runs.record import RecordedProgress
from afdctl.runs.run import Run
from afdctl.runs.user_files import check_unchanged
from afdctl.training.distributed import ALONE, LOST, Processes, check_batch, is_lost, launch, size_warning
from afdctl.training.header import store_recipe, write_header
from afdctl.training.initial_weights import find_initial_weights, with_digest
from afdctl.training.run_data import load_dataset, load_run_dataset, provenance, with_extra, with_run_extra
from afdctl.training.trainer import Trainer
from afdctl.user_code import code

# Called with each line of the journal.
OnLine = Callable[[str], None]
# Called once, when the run can be resumed.
OnReady = Callable[[], None]


def start(
    chosen: Recipe,
    run: Run,
    journal: Journal,
    *,
    device: torch.device,
    data_dir: Path | None,
    on_line: OnLine,
    on_ready: OnReady | None = None,
    processes: Processes = ALONE,
) -> None:
    """Train a recipe to its end in a run made by `Run.begin`; of several processes, the first one writes it."""
    journal.on_line = on_line
    with explain_known_errors():
        with processes.together(), explain_known_errors():
            check_batch(chosen, processes.size)
            dataset = with_extra(load_dataset(chosen.data, data_dir), chosen.data)
            weights = find_initial_weights(chosen, run.path.parent)
            facts = launch(processes)
            if weights:
                chosen, facts = with_digest(chosen, weights), facts | {"initial_weights": weights.provenance}
            trainer = Trainer(
                run=run,
                recipe=chosen,
                dataset=dataset,
                device=device,
                journal=journal,
                weights=weights,
                processes=processes,
            )
            store_recipe(trainer)
        with run_context(trainer):
            write_header(trainer, provenance(chosen, dataset, device, data_dir, **facts))
            if on_ready:
                on_ready()
            trainer.train()


def resume(
    run: Run,
    *,
    device: str | None,
    data_dir: Path | None,
    on_line: OnLine,
    on_ready: OnReady | None = None,
    processes: Processes = ALONE,
) -> Run:
    """Continue from the last good checkpoint, bit-identical to a run that was never stopped.

    Another number of processes than before continues the training too, but not to the bit. Sets the number of CPU
    threads of this process to that of the original one.
    """
    with explain_known_errors(), ExitStack() as stack:
        with processes.together(), explain_known_errors():
            if run.kind != "trained":
                raise RecipeError(f"{run.path}: this run is {run.kind}, not trained; it cannot be resumed")
            chosen, known_code = load_run_recipe(run)
            check_batch(chosen, processes.size)
            journal = stack.enter_context(run.open_journal() if processes.is_first else DiscardingJournal())
            journal.on_line = on_line
            dataset = with_run_extra(load_run_dataset(run, chosen.data, data_dir), run, chosen.data)
            if processes.size == run.provenance.get("processes", 1):
                # the rounding of sums depends on it
                torch.set_num_threads(run.provenance["threads"])
            trainer = Trainer(
                run=run,
                recipe=chosen,
                dataset=dataset,
                device=_resume_device(run, device),
                journal=journal,
                processes=processes,
            )
            check_unchanged(chosen, known_code, run)
            checkpoint = checkpoints.load(run, "last")
            with checkpoints.fitting(checkpoint):
                trainer.load_state_dict(checkpoint.state)
        if processes.from_first(run.finished):
            # another process has trained it to the end since the caller looked
            return run
        warnings = [*checkpoint.warnings, *size_warning(checkpoint.state, processes)]
        if processes.is_first:
            # in this order: the journal must be read after the files that it is compared with
            recorded = RecordedProgress.of(run, checkpoint.step, checkpoint.epoch)
            outline = JournalOutline(run.journal_path)
            warnings += [*recorded.gaps(outline), *checkpoints.repair_best(run, outline.rows, checkpoint.step)]
        with run_context(trainer):
            journal.append(
                "resume",
                step=checkpoint.step,
                epoch=checkpoint.epoch,
                processes=processes.size,
                **trainer.run_length(),
            )
            for warning in warnings:
                journal.append("warning", step=checkpoint.step, message=warning)
            if on_ready:
                on_ready()
            trainer.train()
    return run


def load_run_recipe(run: Run) -> tuple[Recipe, dict[str, Any] | None]:
    """Execute the user's code that a run's recipe names; return the recipe, and what the run recorded of the code."""
    recorded = recipe.loads(run.recipe_text, run.path)
    if recorded.user_code is None:
        return recorded, None
    return recipe.loads(run.recipe_text, run.path, execute=True), recorded.user_code


@contextmanager
def run_context(trainer: Trainer) -> Iterator[None]:
    """Catch signals while training, save if one stops it, and journal in any case how the training ends."""
    if trainer.processes.size > 1:
        trainer.journal.on_line = partial(_stop_together, trainer, trainer.journal.on_line)
    with catch_signals() as trainer.stop_requests:
        try:
            with explain_known_errors(), _saving_if_stopped(trainer):
                yield
        except BaseException as error:
            # the original error is what the user must see, even if it cannot be journaled
            with suppress(AfdctlError, OSError):
                trainer.log_end(*end_reason(error), str(error) or None)
            raise
        trainer.log_end("finished", 0)


def _stop_together(trainer: Trainer, on_line: OnLine | None, line: str) -> None:
    """Show a line; if its reader is gone, stop after this step as for a signal, which all processes do together."""
    try:
        if on_line:
            on_line(line)
    except StoppedError as error:
        trainer.stop_requests.stop = error.exit_code - 128


@contextmanager
def _saving_if_stopped(trainer: Trainer) -> Iterator[None]:
    try:
        yield
    except StoppedError:
        if trainer.run.exists:
            trainer.save()
        raise


@contextmanager
def explain_known_errors() -> Iterator[None]:
    """Turn "out of memory", failures of torch.compile and errors of user code into an AfdctlError of one line."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise AfdctlError("out of memory; lower train.batch_size or model.width") from error
        if is_lost(error):
            raise AfdctlError(LOST) from error
        if message := compile_failure(error) or code.culprit(error):
            raise AfdctlError(message) from error
        raise


def end_reason(error: BaseException) -> tuple[str, int]:
    """Return the journal's reason for the end of a training, and the process's exit code."""
    if isinstance(error, AfdctlError):
        return {StoppedError: "stopped", DivergedError: "diverged"}.get(type(error), "failed"), error.exit_code
    return "failed", 130 if isinstance(error, KeyboardInterrupt) else 1


def choose_device(name: str) -> torch.device:
    """Return the device for `--device`; `auto` is CUDA, else Apple's MPS, else the CPU."""
    available = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    available += [*(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    device = {"auto": available[0], "cuda": "cuda:0"}.get(name, name)
    if device not in available:
        raise RecipeError(f"{option('device', name)}: not on this machine; it has: {', '.join(available)}")
    return torch.device(device)


def _resume_device(run: Run, name: str | None) -> torch.device:
    """Return the run's device, or `--device` if it is of the same kind; each kind has its own random numbers."""
    original = torch.device(run.provenance["device"])
    device = choose_device(name or str(original))
    if device.type != original.type:
        raise RecipeError(
            f"{option('device', name)}: the run started on {original}, whose random numbers cannot be continued "
            f"on {device.type}"
        )
    return device
