"""`afdctl.attack`, `check` and `evaluate`: robustness of a torch module on given images, and of runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from afdctl import registry
from afdctl.api.runs import RUN, RUN_OR_MODULE, AnyRun, Progress, as_path, check_kind, load_target
from afdctl.data import Dataset
from afdctl.errors import RecipeError, python_call
from afdctl.evaluation import time_estimate
from afdctl.evaluation.given import check_given, given_dataset, given_target
from afdctl.evaluation.images import VerifiedResult, attack_images
from afdctl.evaluation.request import Evaluation, EvaluationRequest, trained_balls
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget, data_table
from afdctl.formatting import did_you_mean, shorten, with_article
from afdctl.image_counts import check_images
from afdctl.interrupts import within_a_program
from afdctl.models.valueless import check_values
from afdctl.runs.run import Run
from afdctl.suites import load as suites
from afdctl.suites.attack_config import as_grid
from afdctl.training import run_data, setup


@python_call()
def attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: str | Callable[..., Any] = "aa",
    *,
    epsilon: float | str,
    seed: int = 0,
    batch_size: int | None = None,
    **settings: Any,
) -> VerifiedResult:
    """Attack images x (n, c, h, w) in [0, 1] with labels y (n,), and verify what was found.

    `attack` is a name, `my.py:attack`, or a function or class of your own (docs/attacks.md). `settings` are those of
    the attack, such as `steps=100` or `norm="l2"`; the others are the suite `strong`'s. The model keeps its modes and
    gradients. Error: RecipeError for images, labels or outputs that cannot be attacked.
    """
    check_module(model)
    grid = as_grid([epsilon], "epsilon")
    if isinstance(attack, str):
        options = ("attack", "epsilon")
        suite = suites.load(suites.DEFAULT, "", attacks=[attack], epsilons=grid, overrides=settings, options=options)
        (spec,) = suite.attacks
    else:
        spec = suites.of_function(attack, grid, settings)
    return attack_images(model, x, y, spec, seed=seed, batch_size=batch_size)


@python_call()
def check(model: nn.Module, x: Tensor, y: Tensor) -> list[str]:
    """Return warnings of what would make robust accuracy meaningless: vanishing gradients, randomness, a softmax, ...

    They are those that `attack` and `sweep` print of a model; 128 images are enough.
    """
    check_module(model)
    return check_given(model, x, y)


@python_call()
def evaluate(
    target: AnyRun | nn.Module | Sequence[AnyRun],
    suite: str | Path = suites.DEFAULT,
    *,
    attacks: str | Sequence[str] = (),
    epsilons: Sequence[float | str] | None = None,
    settings: Mapping[str, Any] | None = None,
    sources: AnyRun | Sequence[AnyRun] = (),
    data: str | tuple[Tensor, Tensor] | None = None,
    limit: int | None = None,
    first: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    precision: str = "float32",
    save_images: bool = False,
    checkpoint: str = "best",
    runs: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path | None = None,
    progress: Progress = False,
) -> Evaluation:
    """Run a suite's attacks over their epsilons on runs, as `afdctl sweep` does, or on a torch module.

    Results of runs are kept in them: finished work is skipped, and an interrupted call resumes when it is repeated.
    A module needs `data`: a data set's name, or 8-bit test images x (n, c, h, w) with labels y; its results are only
    returned. `sources` are runs on which the images are made instead (transfer attack).
    """
    options: dict[str, Any] = {
        "limit": limit,
        "first": first,
        "seed": seed,
        "precision": precision,
        "batch_size": batch_size,
        "save_images": save_images,
    }
    check_images(limit, first)
    load_suite = partial(
        suites.load,
        str(suite),
        attacks=[attacks] if isinstance(attacks, str) and attacks else list(attacks),
        epsilons=None if epsilons is None else as_grid(epsilons, "epsilons"),
        overrides=checked_mapping(settings, "settings", {"steps": 100}),
        options=("attacks", "epsilons"),
    )
    place, folder = setup.choose_device(device), as_path(data_dir)
    with within_a_program():
        if isinstance(target, nn.Module):
            if sources:
                raise RecipeError("sources: are for runs; a module is attacked with its own gradients")
            images = given_images(data, folder)
            with given_target(target, images) as given:
                request = EvaluationRequest(suites={images.name: load_suite(images.name)}, **options)
                return _evaluate(request, [given], [], progress)
        runs_of_target = _listed(target, "target", RUN_OR_MODULE)
        if data is not None:
            raise RecipeError("data: is for a torch module; a run brings its own test images")
        load = partial(load_target, checkpoint=checkpoint, runs=runs, device=place, data_dir=folder)
        targets = [load(run) for run in runs_of_target]
        others = [load(run) for run in _listed(sources, "sources", RUN)]
        names = {found.dataset for found in [*targets, *others]}
        request = EvaluationRequest(suites={name: load_suite(name) for name in names}, **options)
        return _evaluate(request, targets, others, progress)


def _evaluate(
    request: EvaluationRequest, targets: list[EvaluationTarget], sources: list[EvaluationTarget], progress: Progress
) -> Evaluation:
    request.check([*targets, *sources])
    runner = request.runner(targets, sources)
    with sweep_progress(progress, runner):
        rows = runner.run()
    unions = {run.name: trained_balls(run) for run in runner.cells.runs.values()}
    return Evaluation.of(runner, rows, unions, request.warnings([*targets, *sources]))


def given_images(data: str | tuple[Tensor, Tensor] | None, data_dir: Path | None) -> Dataset:
    """Return the images that a module is evaluated on. Error: RecipeError for none, or wrong ones."""
    if isinstance(data, str):
        if data not in registry.DATASETS:
            raise RecipeError(f"data '{shorten(data)}': no such data set ({did_you_mean(data, registry.DATASETS)})")
        if data == "folder":
            raise RecipeError("data 'folder': its images have any size; give test images and labels (x, y)")
        return run_data.load_dataset(data_table(data, None), data_dir)
    forms = "name a data set, such as 'mnist', or give test images and labels (x, y)"
    if data is None:
        raise RecipeError(f"data: missing; {forms}")
    if not isinstance(data, Sequence) or len(data) != 2:
        raise RecipeError(f"data: must be a name or two tensors; {forms}")
    return given_dataset(*data)


def _listed(runs: AnyRun | Sequence[AnyRun], name: str, kinds: tuple[type, ...]) -> list[AnyRun]:
    """Return one or several runs as a list. Error: RecipeError for anything that is none, before a run is loaded."""
    if isinstance(runs, str | Path | Run) or not isinstance(runs, Iterable):
        check_kind(runs, name, kinds)
        return [runs]
    listed = list(runs)
    for run in listed:
        check_kind(run, name, RUN)
    return listed


def checked_mapping(given: Mapping[str, Any] | None, name: str, example: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an argument that is a dictionary, empty for none. Error: RecipeError for anything else."""
    if given is not None and not isinstance(given, Mapping):
        raise RecipeError(f"{name}: must be a dictionary, such as {example}")
    return given or {}


def check_module(model: object) -> None:
    """Raise RecipeError for what is no module that can be attacked."""
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"model: must be a torch.nn.Module, not {with_article(type(model).__name__)}; `load_model` loads a run's"
        )
    # a pass would give lazy parameters random values, and the caller's module another class
    check_values(model, "model")


@contextmanager
def sweep_progress(progress: Progress, runner: SweepRunner) -> Iterator[None]:
    """Let the runner report its rows inside."""
    if progress is not True:
        if progress:
            runner.on_row = progress
        yield
        return
    from afdctl.cli.evaluation_progress import EvaluationProgress
    from afdctl.cli.progress_reporter import progress_reporter

    estimates = time_estimate.estimate_seconds(runner.cells.pending_tasks(), runner.batch_size)
    with progress_reporter() as reporter:
        runner.on_row = EvaluationProgress(reporter, estimates).on_row
        yield
