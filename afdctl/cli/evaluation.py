"""What `attack` and `sweep` share: from their options to printed results."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli import on_ray
from afdctl.cli import options as shared
from afdctl.cli.options import (
    check_names_differ,
    check_not_training,
    dataset_name,
    find_targets,
    run_names,
)
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean
from afdctl.image_counts import check_images
from afdctl.suites.balls import check_measured

if TYPE_CHECKING:
    import torch

    from afdctl.evaluation.plan import Task
    from afdctl.evaluation.request import EvaluationRequest
    from afdctl.evaluation.target import EvaluationTarget
    from afdctl.runs.run import Run
    from afdctl.suites.balls import Balls
    from afdctl.suites.load import Suite

    Targets = Sequence[EvaluationTarget]
    LoadSuite = Callable[[str], Suite]

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `attack` and `sweep`."""

    runs: shared.TargetNames = None
    overrides: shared.AttackSettings = None
    limit: shared.Limit = None
    first: shared.First = None
    sources: shared.From = None
    checkpoint: shared.Checkpoint = "best"
    seed: shared.Seed = 0
    batch_size: shared.BatchSize = None
    precision: shared.Precision = "float32"
    save: shared.Save = False
    folder: shared.Runs = Path("runs")
    device: shared.Device = "auto"
    data_dir: shared.DataDir = None
    model: shared.Model = None
    weights: shared.Weights = None
    dataset: shared.Dataset = None
    mean: shared.Mean = None
    std: shared.Std = None
    image_size: shared.ImageSize = None
    ray: on_ray.Ray = None
    cpus_per_task: on_ray.Cpus = 1.0
    gpus_per_task: on_ray.Gpus = None
    json: shared.Json = False


def evaluate(
    options: EvaluateOptions,
    load_suite: "LoadSuite",
    *,
    matrix: bool = False,
    balls: "Balls | None" = None,
) -> None:
    """Attack models and print tables or JSON; `load_suite` returns the attacks for a data set, on any node of Ray.

    `balls` is a union of norms; None: that of a run's own training.
    """
    check_options(options, matrix)
    target_runs = []
    if options.model is None:
        target_runs = find_targets(run_names(options.runs or []), options.folder, options.data_dir)
    # before the plan, which imports torch and attacks a few images to estimate the time
    check_not_training(target_runs)
    source_runs = find_targets(options.sources or [], options.folder, options.data_dir)
    # every mistake in a suite is reported before torch is imported, which takes seconds
    datasets = {dataset_name(run) for run in [*target_runs, *source_runs]} | ({options.dataset} - {None})
    suites = {dataset: load_suite(dataset) for dataset in datasets if dataset}
    if balls:
        for suite in suites.values():
            check_measured(balls, suite.attacks)

    with exit_on_interrupt():
        from afdctl.cli import evaluation_tables, masking_text
        from afdctl.cli.console import progress_reporter
        from afdctl.cli.evaluation_progress import EvaluationProgress
        from afdctl.evaluation import time_estimate
        from afdctl.evaluation.request import Evaluation, trained_balls
        from afdctl.training.setup import choose_device

    device = choose_device(options.device)
    targets, sources = load_targets(options, target_runs, source_runs, device)
    request = make_request(options, suites, matrix)
    # before the check, which may end the command
    print_warnings(request.warnings([*targets, *sources]))
    request.check([*targets, *sources])
    runner = request.runner(targets, sources)
    pending = runner.cells.pending_tasks()
    estimates = time_estimate.estimate_seconds(pending, runner.batch_size)
    at_once = 1
    with ExitStack() as stack:
        if options.ray and pending:
            plan = partial(plan_on_node, options, load_suite, matrix, folders(targets), folders(sources), device.type)
            at_once = stack.enter_context(on_ray.batches_on_ray(runner, options, device, plan))
        seconds = sum(estimates.values()) / at_once
        typer.echo(evaluation_tables.format_plan(runner, pending, seconds, device, at_once), err=True)
        reporter = stack.enter_context(progress_reporter())
        runner.on_row = EvaluationProgress(reporter, estimates).on_row
        rows = runner.run()
    evaluation_tables.print_not_selected(runner.cells.not_selected())
    evaluation_tables.print_replaced(runner.cells.replaced_by_other_images())
    for line in runner.cells.other_checkpoints():
        typer.echo(line, err=True)
    unions = {run.name: balls or trained_balls(run) for run in runner.cells.runs.values()}
    evaluation = Evaluation.of(runner, rows, unions)
    diagnoses = masking_text.diagnose_sweep(list(runner.cells.targets.values()), evaluation.curves)
    evaluation_tables.show_results(evaluation, diagnoses, as_json=options.json)


def folders(targets: "Targets") -> list[str]:
    """Return where the targets' runs are, on any node."""
    return [str(target.run.path.resolve()) for target in targets]


def make_request(options: EvaluateOptions, suites: "Mapping[str, Suite]", matrix: bool) -> "EvaluationRequest":
    """Make the request that the options stand for."""
    from afdctl.evaluation.request import EvaluationRequest

    return EvaluationRequest(
        suites=suites,
        limit=options.limit,
        first=options.first,
        seed=options.seed,
        precision=options.precision,
        matrix=matrix,
        batch_size=options.batch_size,
        save_images=options.save,
    )


def plan_on_node(
    options: EvaluateOptions,
    load_suite: "LoadSuite",
    matrix: bool,
    target_folders: Sequence[str],
    source_folders: Sequence[str],
    device: str,
) -> "Sequence[Task]":
    """Plan the tasks of a command again, from the folders of its targets and sources."""
    import torch

    from afdctl.runs.run import Run

    # the run of a custom model names the model
    options = replace(options, model=None)
    runs, source_runs = ([Run(Path(folder)) for folder in folders] for folders in (target_folders, source_folders))
    targets, sources = load_targets(options, runs, source_runs, torch.device(device))
    suites = {target.dataset: load_suite(target.dataset) for target in [*targets, *sources]}
    request = make_request(options, suites, matrix)
    # it also loads what user attacks import, which is in the keys of their results
    request.check([*targets, *sources])
    return request.tasks(targets, sources)


def check_options(options: EvaluateOptions, matrix: bool) -> None:
    """Raise RecipeError for options that contradict each other."""
    on_ray.check_ray(options)
    check_images(options.limit, options.first)
    if options.precision not in PRECISIONS:
        raise RecipeError(f"--precision {options.precision}: must be {' or '.join(PRECISIONS)}")
    if matrix and options.sources:
        raise RecipeError("--matrix: attacks each run with all others' images; leave --from out")
    if options.model is None:
        for name in ("weights", "dataset", "mean", "std", "image_size"):
            if getattr(options, name) is not None:
                raise RecipeError(f"--{name.replace('_', '-')}: goes with --model; a run brings its own")
        return
    if options.runs:
        raise RecipeError("--model: names a custom model; leave RUN out")
    if options.dataset is None:
        raise RecipeError("--model: needs --dataset, whose test images it classifies (see `afdctl data ls`)")
    if options.dataset not in registry.DATASETS:
        hint = did_you_mean(options.dataset, registry.DATASETS)
        raise RecipeError(f"--dataset '{options.dataset}': no such data set ({hint})")


def load_targets(
    options: EvaluateOptions, target_runs: "Sequence[Run]", source_runs: "Sequence[Run]", device: "torch.device"
) -> "tuple[Targets, Targets]":
    """Load the networks that are attacked, and those that the images are made on."""
    from afdctl.evaluation.target import load_run_target

    # a run may be target and source, or be named twice: it is loaded once
    loaded = {
        run.path.resolve(): load_run_target(run, options.checkpoint, device, options.data_dir)
        for run in [*target_runs, *source_runs]
    }
    check_names_differ(target.name for target in loaded.values())
    sources = [loaded[run.path.resolve()] for run in source_runs]
    if options.model is not None:
        return [load_custom_model(options, device)], sources
    return [loaded[path] for path in dict.fromkeys(run.path.resolve() for run in target_runs)], sources


def load_custom_model(options: EvaluateOptions, device: "torch.device") -> "EvaluationTarget":
    """Load the model that --model names."""
    from afdctl.evaluation.target import load_user_target
    from afdctl.models import user_model

    assert options.model is not None
    assert options.dataset is not None
    mean, std = shared.parse_numbers(options.mean, "--mean"), shared.parse_numbers(options.std, "--std")
    user_model.check_spec(options.model)
    # the file runs with the user's rights, so it is named before it does
    typer.echo(f"executing {options.model.rpartition(':')[0] or options.model} to build the model", err=True)
    return load_user_target(
        options.model,
        dataset=options.dataset,
        runs=options.folder,
        device=device,
        data_dir=options.data_dir,
        weights=options.weights,
        mean=mean,
        std=std,
        image_size=options.image_size,
    )


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning once."""
    for warning in dict.fromkeys(warnings):
        typer.echo(f"warning: {warning}", err=True)
