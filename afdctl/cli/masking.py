"""`afdctl analyze --masking`: whether robustness only looks so."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from afdctl.cli.console import TableConsole
from afdctl.cli.evaluation import print_warnings
from afdctl.cli.options import check_not_training
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.targets import TargetOptions, load_targets
from afdctl.errors import NoResultsError
from afdctl.formatting import format_epsilon, format_estimate

if TYPE_CHECKING:
    import torch

    from afdctl.analysis.masking import Diagnosis
    from afdctl.evaluation.target import EvaluationTarget

VERDICTS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "missing": "not measured"}


def diagnose(
    options: TargetOptions,
    *,
    epsilon: float | None,
    thresholds_file: Path | None,
    overrides: Sequence[str],
    stored: bool,
) -> None:
    """Diagnose targets, after running the attacks that their stored results lack; with `stored`, without any.

    `overrides` change thresholds. Error: NoResultsError where nothing could be judged.
    """
    options.check()
    from afdctl.evaluation import thresholds

    limits = thresholds.load(thresholds_file, overrides)
    runs = options.find(make=not stored)
    check_not_training(runs)
    with exit_on_interrupt():
        from afdctl.analysis import masking_plan
        from afdctl.training.setup import choose_device

    device = choose_device(options.device)
    targets, _ = load_targets(options, runs, [], device, make=not stored)
    print_warnings([f"{target.name}: {warning}" for target in targets for warning in target.warnings])
    diagnoses, lacking = [], []
    for target in targets:
        # a wrong epsilon is one with --stored too
        masking_plan.nominal_ball(target, epsilon)
        if not stored:
            run_missing(options, target, epsilon, device)
        found = masking_plan.judge(target, limits, options.limit, options.first, epsilon)
        diagnoses += found
        lacking += [] if found else [target.name]
    show(diagnoses, as_json=options.json)
    if lacking:
        place = "" if epsilon is None else f" at {format_epsilon(epsilon)}"
        remedy = f"no attacks to compare are stored{place}; leave --stored out, or run `afdctl sweep`"
        error = NoResultsError(f"{', '.join(lacking)}: {remedy}")
        if not diagnoses:
            raise error
        typer.echo(str(error), err=True)


def run_missing(
    options: TargetOptions, target: "EvaluationTarget", epsilon: float | None, device: "torch.device"
) -> None:
    """Run the attacks that a target lacks; their cost is printed first."""
    from afdctl.analysis import masking_plan
    from afdctl.cli.evaluation_progress import EvaluationProgress
    from afdctl.cli.progress_reporter import progress_reporter
    from afdctl.evaluation import time_estimate

    runner = masking_plan.runner_of_missing(
        target,
        epsilon=epsilon,
        limit=options.limit,
        first=options.first,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    if runner is None:
        return
    pending = runner.cells.pending_tasks()
    estimates = time_estimate.estimate_seconds(pending, runner.batch_size)
    names = ", ".join(dict.fromkeys(task.spec.title for task in pending))
    if pending:
        seconds = format_estimate(sum(estimates.values()))
        images = f"{pending[0].n:,} images"
        typer.echo(f"{target.name}: lacks {names} on {images}: up to about {seconds} on {device}", err=True)
    with progress_reporter() as reporter:
        runner.on_row = EvaluationProgress(reporter, estimates).on_row
        runner.run()


def show(diagnoses: "Sequence[Diagnosis]", *, as_json: bool) -> None:
    """Print the indicators of each diagnosis, its verdict, and what no indicator shows."""
    from afdctl.analysis.masking import CAVEAT

    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "masking": [found.as_json() for found in diagnoses]}))
        return
    console = TableConsole()
    for diagnosis in diagnoses:
        console.print(indicator_table(diagnosis))
        for found in diagnosis.findings:
            console.print(f"{found.indicator}: {found.text}.", soft_wrap=True)
        console.print(f"{diagnosis.headline}.", soft_wrap=True)
        # D7 says the same, unless another attack is farther above the worst case
        if diagnosis.overestimation and not any(diagnosis.overestimation in found.text for found in diagnosis.findings):
            console.print(f"{diagnosis.overestimation}.", soft_wrap=True)
        console.print(CAVEAT, soft_wrap=True)
        console.print()


def indicator_table(diagnosis: "Diagnosis") -> Table:
    """Tabulate the indicators."""
    table = Table(
        title=f"{diagnosis.run}: masking in {diagnosis.ball}, {diagnosis.n:,} test images", title_justify="left"
    )
    table.add_column("indicator", no_wrap=True)
    for column in ("value", "threshold"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for found in diagnosis.findings:
        value = "—" if found.value is None else f"{found.value:.4g}"
        table.add_row(f"{found.indicator} {found.name}", value, found.bound, VERDICTS[found.verdict])
    return table
