"""Start and resume trainings: device, data and provenance."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from afdctl import recipe
from afdctl.errors import RecipeError, option
from afdctl.journal import Journal, JournalOutline
from afdctl.journal.discarding import DiscardingJournal
from afdctl.recipe import Recipe
from afdctl.runs import checkpoints
from afdctl.runs.provenance import precisions_of, with_precisions
from afdctl.runs.record import RecordedProgress
from afdctl.runs.run import Run
from afdctl.runs.user_files import check_copies, check_unchanged
from afdctl.training.distributed import ALONE, Processes, check_batch, launch, size_warning
from afdctl.training.endings import explain_known_errors, run_context
from afdctl.training.header import store_recipe, write_header
from afdctl.training.initial_weights import find_initial_weights, with_digest
from afdctl.training.precision_choice import find_precisions
from afdctl.training.run_data import load_dataset, load_run_dataset, provenance, with_extra, with_run_extra
from afdctl.training.trainer import Trainer

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
            dataset = with_extra(load_dataset(chosen.data, data_dir), chosen.data)
            weights = find_initial_weights(chosen, run.path.parent)
            facts = launch(processes)
            if weights:
                chosen, facts = with_digest(chosen, weights), facts | {"initial_weights": weights.provenance}
            measured = find_precisions(chosen, dataset.test.x.shape[1:], len(dataset.classes), device)
        # a recipe keeps its `auto`, as it does not depend on a machine
        facts["precisions"] = processes.from_first(measured)
        with processes.together(), explain_known_errors():
            trainer = Trainer(
                run=run,
                recipe=with_precisions(chosen, facts["precisions"]),
                dataset=dataset,
                device=device,
                journal=journal,
                weights=weights,
                processes=processes,
            )
            store_recipe(trainer, chosen)
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
            check_batch(chosen, processes.size, resumes=True)
            chosen = with_precisions(chosen, precisions_of(run.provenance, chosen))
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
    check_copies(recorded, run)
    return recipe.loads(run.recipe_text, run.path, execute=True), recorded.user_code


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
