"""Start and resume trainings: device, data and provenance."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from afdctl import data, paths, recipe
from afdctl.data import Dataset
from afdctl.data.arrays import load_extra
from afdctl.errors import CorruptError, RecipeError, option
from afdctl.journal import Journal, JournalOutline
from afdctl.name_families import TIMM
from afdctl.recipe import Recipe
from afdctl.recipe.data import Data
from afdctl.runs import checkpoints
from afdctl.runs.provenance import environment
from afdctl.runs.record import RecordedProgress
from afdctl.runs.run import Run
from afdctl.runs.user_files import check_copies, check_unchanged
from afdctl.training.endings import explain_known_errors, run_context
from afdctl.training.initial_weights import find_initial_weights, with_digest
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
) -> None:
    """Train a recipe to its end in a run made by `Run.begin`."""
    journal.on_line = on_line
    with explain_known_errors():
        dataset = with_extra(load_dataset(chosen.data, data_dir), chosen.data)
        weights = find_initial_weights(chosen, run.path.parent)
        facts: dict[str, Any] = {}
        if weights:
            chosen, facts = with_digest(chosen, weights), {"initial_weights": weights.provenance}
        trainer = Trainer(run=run, recipe=chosen, dataset=dataset, device=device, journal=journal, weights=weights)
        trainer.store_recipe()
        with run_context(trainer):
            trainer.write_header(provenance(chosen, dataset, device, data_dir, **facts))
            if on_ready:
                on_ready()
            trainer.train()


def resume(
    run: Run, *, device: str | None, data_dir: Path | None, on_line: OnLine, on_ready: OnReady | None = None
) -> Run:
    """Continue from the last good checkpoint, bit-identical to a run that was never stopped.

    Sets the number of CPU threads of this process to that of the original one.
    """
    if run.kind != "trained":
        raise RecipeError(f"{run.path}: this run is {run.kind}, not trained; it cannot be resumed")
    chosen, known_code = load_run_recipe(run)
    with run.open_journal() as journal, explain_known_errors():
        journal.on_line = on_line
        dataset = _with_run_extra(load_run_dataset(run, chosen.data, data_dir), run, chosen.data)
        # the rounding of sums depends on it
        torch.set_num_threads(run.provenance["threads"])
        trainer = Trainer(run=run, recipe=chosen, dataset=dataset, device=_resume_device(run, device), journal=journal)
        check_unchanged(chosen, known_code, run)
        checkpoint = checkpoints.load(run, "last")
        with checkpoints.fitting(checkpoint):
            trainer.load_state_dict(checkpoint.state)
        # in this order: the journal must be read after the files that it is compared with
        recorded = RecordedProgress.of(run, checkpoint.step, checkpoint.epoch)
        outline = JournalOutline(run.journal_path)
        warnings = [*checkpoint.warnings, *recorded.gaps(outline)]
        warnings += checkpoints.repair_best(run, outline.rows, checkpoint.step)
        with run_context(trainer):
            journal.append("resume", step=checkpoint.step, epoch=checkpoint.epoch, **trainer.run_length())
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


def load_dataset(table: Data, data_dir: Path | None, *, recorded: Path | None = None) -> Dataset:
    """Read the data set of a recipe's [data] table; `recorded` is the data folder in a run's provenance."""
    return data.load(
        table.dataset,
        data_dir,
        path=_recipe_path(table),
        image_size=table.image_size,
        channels=table.channels,
        recorded=recorded,
        **table.own_values(Data),
    )


def load_run_dataset(run: Run, table: Data, data_dir: Path | None) -> Dataset:
    """Read a run's data set from --data-dir or its original folder. Error: CorruptError for other images."""
    dataset = load_dataset(table, data_dir, recorded=Path(run.provenance["data_dir"]))
    # the same path may contain other images by now
    if dataset.digest != run.provenance["data_digest"]:
        raise CorruptError(
            f"{run.path}: not the images that this run used; name their folder with {option('data-dir')}"
        )
    return dataset


def with_extra(dataset: Dataset, table: Data) -> Dataset:
    """Return the data set with the images of `data.extra`, and the warnings of reading them."""
    if table.extra is None:
        return dataset
    extra, notes = load_extra(Path(table.extra), dataset)
    return replace(dataset, extra=extra, notes=(*dataset.notes, *notes))


def _with_run_extra(dataset: Dataset, run: Run, table: Data) -> Dataset:
    """Add a run's `data.extra` for its resume. Error: CorruptError for other images."""
    if table.extra is None:
        return dataset
    # absolute, as a training may resume in another folder
    path = run.provenance["extra"]
    dataset = with_extra(dataset, table.model_copy(update={"extra": path}))
    if dataset.extra and dataset.extra.digest != run.provenance["extra_digest"]:
        raise CorruptError(f"{path}: not the images of data.extra that {run.path} used; put them back")
    return dataset


def data_folder(table: Data, data_dir: Path | None) -> str:
    """Return the first folder in which a [data] table's data set is searched, for a run's provenance."""
    return str(data.roots(table.dataset, data_dir, path=_recipe_path(table))[0].resolve())


def _recipe_path(table: Data) -> Path | None:
    return Path(table.path) if table.path else None


def provenance(
    chosen: Recipe, dataset: Dataset, device: torch.device, data_dir: Path | None, **more: Any
) -> dict[str, Any]:
    """Return the content of run.json for a run of the recipe."""
    if chosen.model.encoder.startswith(TIMM.prefix):
        more["timm"] = version("timm")
    extra = {}
    if chosen.data.extra and dataset.extra:
        extra = {"extra": str(paths.path(chosen.data.extra).resolve()), "extra_digest": dataset.extra.digest}
    return {
        "data_digest": dataset.digest,
        "data_dir": data_folder(chosen.data, data_dir),
        **extra,
        "seed": chosen.seed,
        **environment(device),
        **more,
    }
