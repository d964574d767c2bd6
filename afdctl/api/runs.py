"""`afdctl.train`, `resume`, `load_run`, `load_model`: what the commands do with recipes and runs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from afdctl import paths
from afdctl import recipe as recipes
from afdctl.api.loaded_run import LoadedRun
from afdctl.errors import NoResultsError, RecipeError, python_call
from afdctl.evaluation.target import EvaluationTarget, load_run_target
from afdctl.formatting import with_article
from afdctl.interrupts import within_a_program
from afdctl.recipe import Recipe
from afdctl.runs import model_card
from afdctl.runs.record import verify_finished
from afdctl.runs.run import Run
from afdctl.training import setup
from afdctl.training.import_checkpoint import import_model

AnyRecipe = str | Path | Recipe | Mapping[str, Any]
AnyRun = str | Path | Run
RUN: Final = (str, Path, Run)
RUN_OR_MODULE: Final = (*RUN, nn.Module)
# whether to report progress on stderr, or what receives each row of the journal
Progress = bool | Callable[[dict[str, Any]], None]


@python_call()
def train(
    recipe: AnyRecipe,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path | None = None,
    progress: Progress = False,
) -> LoadedRun:
    """Train a recipe, measure clean and PGD accuracy on the test split, and return the run.

    `recipe` is a file, a packaged name, a `Recipe`, or a dictionary of tables, which may have `extends`. `overrides`
    are values such as `{"train.epochs": 5}`, or `--set`'s texts. An interrupt (Ctrl-C, a notebook's stop button) saves
    after the current step and raises StoppedError; `resume` continues the run.
    """
    chosen = _load_recipe(recipe, overrides)
    stem = Path(recipe).stem if isinstance(recipe, str | Path) else f"{chosen.dataset}_{chosen.method}".lower()
    place = setup.choose_device(device)
    with (
        within_a_program(),
        Run.begin(Path(runs), stem, name) as (run, journal),
        _training_progress(progress) as on_line,
    ):
        setup.start(chosen, run, journal, device=place, data_dir=as_path(data_dir), on_line=on_line)
    return LoadedRun(run.path)


@python_call()
def resume(
    run: AnyRun,
    *,
    runs: str | Path = "runs",
    device: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress = False,
) -> LoadedRun:
    """Continue a stopped training from its last checkpoint, bit for bit; only verify a finished one."""
    found = load_run(run, runs=runs)
    if found.finished:
        verify_finished(found)
        return found
    threads = torch.get_num_threads()
    try:
        with within_a_program(), _training_progress(progress) as on_line:
            setup.resume(found, device=device, data_dir=as_path(data_dir), on_line=on_line)
    finally:
        # a resumed training takes as many as it began with
        torch.set_num_threads(threads)
    return found


@python_call()
def load_run(run: AnyRun, *, runs: str | Path = "runs") -> LoadedRun:
    """Return a run by path, name or `latest`, verified. Errors: NotFoundError, CorruptError."""
    check_kind(run, "run", RUN)
    found = run if isinstance(run, Run) else Run.find(str(run), Path(runs))
    return LoadedRun(found.path)


@python_call()
def load_model(
    run: AnyRun,
    checkpoint: str = "best",
    *,
    runs: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path | None = None,
) -> nn.Module:
    """Return the network of a run or of `model:NAME`, frozen, for images (n, c, h, w) in [0, 1].

    `checkpoint` is `best`, `last` or a file's name. Its data set must be on this machine, which verifies the images.
    """
    return load_target(run, checkpoint, runs=runs, device=setup.choose_device(device), data_dir=data_dir).network


def _load_recipe(recipe: AnyRecipe, overrides: Mapping[str, Any] | Sequence[str]) -> Recipe:
    if isinstance(overrides, str) or not isinstance(overrides, Mapping | Sequence):
        raise RecipeError("overrides: must be a dictionary, such as {'train.epochs': 5}, or a list of --set's texts")
    if isinstance(recipe, str | Path):
        return recipes.load(str(recipe), overrides)
    if not isinstance(recipe, Recipe | Mapping):
        raise RecipeError(f"recipe: must be a name, a path, a Recipe or a dictionary, not {type(recipe).__name__}")
    return recipes.of_values(recipe, overrides)


def load_target(
    run: AnyRun,
    checkpoint: str,
    *,
    runs: str | Path,
    device: torch.device,
    data_dir: str | Path | None,
    make: bool = True,
) -> EvaluationTarget:
    """Load a run's network, or that of a `model:NAME`, which without `make` has to have a run (NoResultsError)."""
    folder = as_path(data_dir)
    if isinstance(run, str) and run.startswith(model_card.PREFIX):
        model = model_card.load(run)
        known = model.find_run(Path(runs))
        if known is None and not make:
            raise NoResultsError(f"{run}: nothing is measured under {runs}; `evaluate` it first")
        found = known or import_model(model, runs=Path(runs), data_dir=folder)
    else:
        found = load_run(run, runs=runs)
    return load_run_target(found, checkpoint, device, folder)


def check_kind(value: object, name: str, kinds: tuple[type, ...]) -> None:
    """Raise RecipeError for what is neither a run nor, where RUN_OR_MODULE are allowed, a module."""
    if not isinstance(value, kinds):
        kind = f"the class {value.__name__}" if isinstance(value, type) else with_article(type(value).__name__)
        module = " or a torch module" if nn.Module in kinds else ""
        raise RecipeError(f"{name}: must be a run{module}, not {'None' if value is None else kind}")


def as_path(folder: str | Path | None) -> Path | None:
    return None if folder is None else paths.path(folder)


@contextmanager
def _training_progress(progress: Progress) -> Iterator[Callable[[str], None]]:
    """Return the function that receives each line of the journal."""
    if progress is not True:
        yield (lambda line: progress(json.loads(line))) if progress else (lambda line: None)
        return
    from afdctl.cli.progress import TrainingProgress
    from afdctl.cli.progress_reporter import progress_reporter

    with progress_reporter() as reporter:
        yield TrainingProgress(reporter).on_line
