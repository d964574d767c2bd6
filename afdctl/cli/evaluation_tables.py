"""Print the plan and the results of a sweep: tables for people, one JSON object for pipelines."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from afdctl.cli.console import TableConsole
from afdctl.cli.masking_text import short_form
from afdctl.formatting import NORM_LABELS, format_count, format_epsilon, format_estimate, format_percent
from afdctl.image_counts import describe_images, format_subset

if TYPE_CHECKING:
    import torch

    from afdctl.analysis.masking import Diagnosis
    from afdctl.evaluation.curves import SampleCurve, WorstCaseCurve
    from afdctl.evaluation.plan import Task
    from afdctl.evaluation.request import Evaluation
    from afdctl.evaluation.runner import SweepRunner
    from afdctl.evaluation.union import UnionAccuracy
    from afdctl.journal import Row

TRANSFER_NOTE = (
    "Images made against another model (black box): an upper bound on robust accuracy, which white-box attacks lower."
)
# columns that a narrow terminal drops, the last one first
OPTIONAL = ("AUC", "optimality", "AUC (exact)", "passes", "schedule")


def format_plan(
    runner: "SweepRunner", pending: "Sequence[Task]", seconds: float, device: "torch.device", at_once: int = 1
) -> str:
    """Summarise the work: `2 models, 9 attacks: 78 cells, 12 done already, up to about 14 min on cpu`.

    `at_once` is the number of batches that are attacked at the same time.
    """
    tasks = runner.cells.tasks
    cells, missing = (sum(len(task.cells()) for task in some) for some in (tasks, pending))
    counts = f"{format_count(len(runner.cells.targets), 'model')}, " + format_count(
        len({task.spec.title for task in tasks}), "attack"
    )
    done = f", {cells - missing} done already" if missing < cells else ""
    summary = f"{counts}: {format_count(cells, 'cell')}{done}"
    # nothing will be attacked, so there is no time to estimate and nothing to watch
    if not pending:
        return summary
    runs = " ".join(str(run.path) for run in runner.cells.runs.values())
    where = device if at_once == 1 else f"{device}, {at_once} batches at once"
    return f"{summary}, up to about {format_estimate(seconds)} on {where}\nwatch it with: afdctl watch {runs}"


def show_results(evaluation: "Evaluation", diagnoses: "Sequence[Diagnosis]", *, as_json: bool) -> None:
    """Print the results of a plan, and what they say of masked gradients."""
    if as_json:
        typer.echo(json.dumps(evaluation.as_json() | {"masking": [found.as_json() for found in diagnoses]}))
        return
    console = TableConsole()
    for run in dict.fromkeys(curve.run for curve in evaluation.curves):
        of_run = [curve for curve in evaluation.curves if curve.run == run]
        # a table for each norm: an epsilon has another meaning in each
        for norm in dict.fromkeys(curve.norm for curve in of_run):
            shown = [curve for curve in of_run if curve.norm == norm]
            worst = [worst for worst in evaluation.worst_cases if (worst.run, worst.norm) == (run, norm)]
            console.print_dropping_columns(partial(accuracy_table, shown, worst), len(OPTIONAL))
            console.print(caption(shown), soft_wrap=True)
            for diagnosis in diagnoses:
                if (diagnosis.run, diagnosis.norm) == (run, norm) and (text := short_form(diagnosis)):
                    console.print(text, soft_wrap=True)
            console.print()
        for union in (union for union in evaluation.unions if union.run == run):
            console.print(union_table(union))
            console.print("Union: images that no attack above fooled in any of the balls.", soft_wrap=True)
            console.print()


def union_table(union: "UnionAccuracy") -> Table:
    """Tabulate one run's accuracies (%) in each ball of a union, and in all of them with its 95 % interval."""
    table = Table(title=f"{union.run}: accuracy (%) in a union", title_justify="left")
    table.add_column("ball", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("attacks")
    table.add_row("clean", format_percent(union.clean), "")
    for norm, epsilon in union.balls.items():
        ball = f"{NORM_LABELS[norm]} {format_epsilon(epsilon)}"
        table.add_row(ball, format_percent(union.alone[norm]), ", ".join(union.attacks[norm]))
    margin = 100 * union.interval.margin(union.accuracy)
    table.add_row("union", f"{format_percent(union.accuracy)} ± {margin:.1f}", "all of them", style="bold")
    return table


def accuracy_table(
    curves: "Sequence[SampleCurve]", worst: "Iterable[WorstCaseCurve]", optional: int = len(OPTIONAL)
) -> Table:
    """Tabulate one run's accuracies (%) in one norm: a row per attack, a column per epsilon, then optional columns."""
    first = curves[0]
    title = f"{first.run}: accuracy (%) in {NORM_LABELS[first.norm]}, {describe_images([first.cells[0]])}"
    table = Table(title=title, title_justify="left")
    epsilons = sorted({epsilon for curve in curves for epsilon in curve.epsilons})
    table.add_column("attack", no_wrap=True)
    for epsilon in epsilons:
        table.add_column("clean" if epsilon == 0 else format_epsilon(epsilon), justify="right", no_wrap=True)
    for heading in OPTIONAL[:optional]:
        table.add_column(heading, justify="left" if heading == "schedule" else "right", no_wrap=True)
    for curve in curves:
        table.add_row(curve.title, *percents(curve, epsilons), *optional_columns(curve)[:optional])
    for worst_case in worst:
        table.add_row("worst case", *percents(worst_case, epsilons), style="bold")
    return table


def optional_columns(curve: "SampleCurve") -> tuple[str, ...]:
    """Format the optional columns of an attack."""
    optimality = "" if curve.optimality is None else f"{curve.optimality:.2f}"
    # distances of a fixed-budget attack end where its grid does: only minimum-norm attacks have an exact AUC
    exact = f"{curve.auc_exact:.3f}" if curve.schedule == "once" else ""
    return f"{curve.auc:.3f}", optimality, exact, f"{curve.passes:,.0f}", curve.schedule


def percents(curve: "SampleCurve | WorstCaseCurve", epsilons: Iterable[float]) -> list[str]:
    """Format the accuracy at each epsilon, empty where the curve has none."""
    accuracies = dict(zip(curve.epsilons, curve.accuracies, strict=True))
    return [f"{100 * accuracies[epsilon]:.1f}" if epsilon in accuracies else "" for epsilon in epsilons]


def caption(curves: "Sequence[SampleCurve]") -> str:
    """Write the note below a table: how exact its numbers are, and what limits them."""
    from afdctl.runs.curves import describe_mixed_grids, lacks_autoattack

    margins = [
        interval.margin(accuracy)
        for curve in curves
        for accuracy, interval in zip(curve.accuracies, curve.intervals, strict=True)
    ]
    notes = [f"95 % intervals (Wilson): at most {100 * max(margins):.1f} points either way."]
    if any(curve.source for curve in curves):
        notes.append(TRANSFER_NOTE)
    if lacks_autoattack(curves):
        notes.append("No AutoAttack: robust accuracy may be lower.")
    if any(curve.precision == "bf16" for curve in curves):
        notes.append("Searched in bfloat16, verified in float32: a search in float32 may find more.")
    voted = {curve.title: curve.verdict for curve in curves if curve.verdict != "one pass"}
    notes += [f"Verdict of {title} on x and x': the {verdict} (eot)." for title, verdict in voted.items()]
    if mixed_grids := describe_mixed_grids((curve.title, curve.epsilons) for curve in curves):
        notes.append(mixed_grids)
    for curve in curves:
        if curve.parts:
            counts = ", ".join(f"{part} {count}" for part, count in curve.parts.items())
            notes.append(f"{curve.attack} at {format_epsilon(curve.epsilons[-1])} fooled by: {counts} images.")
    warnings = dict.fromkeys(warning for curve in curves for warning in curve.warnings)
    return " ".join([*notes, *(f"Warning: {warning}." for warning in warnings)])


def print_not_selected(cells: "Sequence[tuple[str, Row, Row]]") -> None:
    """Name the attacks whose results here are not those that tables, figures and results.h5 show."""
    lines = []
    for run, cell, selected in cells:
        here, there = describe_differences(cell, selected)
        lines.append(f"{run}: tables, figures and results.h5 keep {cell['attack']} of {there}, not this of {here}")
    for line in dict.fromkeys(lines):
        typer.echo(line, err=True)


def print_replaced(cells: "Sequence[tuple[str, Row, Row]]") -> None:
    """Name the attacks whose results here take the place of results on other images."""
    for run, old, new in cells:
        before, now = describe_differences(old, new)
        typer.echo(
            f"{run}: tables, figures and results.h5 now have {new['attack']} of {now}, in place of {before}", err=True
        )


def describe_differences(one: "Row", other: "Row") -> tuple[str, str]:
    """Describe two results by the points of their rank in which they differ."""
    # of the six values, only those that differ are named
    pairs = zip(describe_rank(one), describe_rank(other), strict=True)
    differences = [(here, there) for here, there in pairs if here != there]
    here, there = (", ".join(words) for words in zip(*differences, strict=True))
    return here, there


def describe_rank(cell: "Row") -> tuple[str, ...]:
    """Describe what decides which of two results counts."""
    changed = f"{' and '.join(cell['changed'])} changed" if cell["changed"] else "the suite's own settings"
    return (
        format_subset(cell, "images"),
        changed,
        cell["precision"],
        f"suite {cell['suite']}",
        f"seed {cell['seed']}",
    )
