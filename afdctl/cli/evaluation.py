"""What `attack` and `sweep` share: from their options to printed results."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from afdctl.cli import on_ray
from afdctl.cli import options as shared
from afdctl.cli.options import check_not_training, dataset_name
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.targets import TargetOptions, find_targets, load_targets
from afdctl.errors import RecipeError
from afdctl.suites.balls import check_measured

if TYPE_CHECKING:
    from afdctl.evaluation.plan import Task
    from afdctl.evaluation.request import EvaluationRequest
    from afdctl.evaluation.target import EvaluationTarget
    from afdctl.suites.balls import Balls
    from afdctl.suites.load import Suite

    Targets = Sequence[EvaluationTarget]
    LoadSuite = Callable[[str], Suite]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TargetOptions):
    """The options of `attack` and `sweep`."""

    overrides: shared.AttackSettings = None
    sources: shared.From = None
    precision: shared.Precision = "float32"
    save: shared.Save = False
    ray: on_ray.Ray = None
    cpus_per_task: on_ray.Cpus = None
    gpus_per_task: on_ray.Gpus = None


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
    target_runs = options.find()
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
        from afdctl.cli.evaluation_progress import EvaluationProgress
        from afdctl.cli.progress_reporter import progress_reporter
        from afdctl.evaluation import time_estimate
        from afdctl.evaluation.batches import InProcess
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
            root = next(iter(runner.cells.runs.values())).path.parent
            executor = partial(InProcess, keep_images=options.save)
            batches, _ = stack.enter_context(on_ray.batches_on_ray(options, root, device, plan, executor))
            runner.executor, at_once = batches, batches.cluster.slots
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
    evaluated = list(runner.cells.targets.values())
    diagnoses = masking_text.diagnose_sweep(evaluated, evaluation.curves, options.limit, options.first)
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

    # the run of a custom model names the model; the driver has chosen the precision of each task
    options = replace(options, model=None, precision="float32")
    runs, source_runs = ([Run(Path(folder)) for folder in folders] for folders in (target_folders, source_folders))
    targets, sources = load_targets(options, runs, source_runs, torch.device(device))
    suites = {target.dataset: load_suite(target.dataset) for target in [*targets, *sources]}
    request = make_request(options, suites, matrix)
    # it also loads what user attacks import, which is in the keys of their results
    request.check([*targets, *sources])
    return request.tasks(targets, sources)


def check_options(options: EvaluateOptions, matrix: bool) -> None:
    """Raise RecipeError for options that contradict each other."""
    options.check()
    on_ray.check_ray(options)
    from afdctl.recipe.fields import Precision

    *others, last = get_args(Precision)
    if options.precision not in (*others, last):
        raise RecipeError(f"--precision {options.precision}: must be {', '.join(others)} or {last}")
    if matrix and options.sources:
        raise RecipeError("--matrix: attacks each run with all others' images; leave --from out")


def print_warnings(warnings: Sequence[str]) -> None:
    """Print each warning once."""
    for warning in dict.fromkeys(warnings):
        typer.echo(f"warning: {warning}", err=True)
