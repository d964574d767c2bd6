"""The figures of a sweep: tables for people, one JSON object for pipelines."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from afdctl.cli.broken_pipe import broken_pipe_error
from afdctl.cli.console import Console
from afdctl.formatting import NORM_LABELS, format_epsilon

if TYPE_CHECKING:
    from afdctl.evaluation.curves import Curve, WorstCaseCurve
    from afdctl.evaluation.partial_results import Rows
    from afdctl.evaluation.plan import Task

PIPE_WIDTH = 200
TRANSFERS = (
    "Images made against another model (black box): an upper bound on robust accuracy, which white-box attacks lower."
)
OPTIONAL = ("AUC", "optimal", "exact", "passes", "schedule")


def show(tasks: "Sequence[Task]", rows: "Rows", as_json: bool, suite: str) -> None:
    """Print the figures of a plan whose cells are all there."""
    from afdctl.evaluation.curves import as_json as plain
    from afdctl.evaluation.curves import of_tasks, worst_case_curves

    curves = of_tasks(tasks, rows)
    worst = [made for curves_of_run in curves.values() for made in worst_case_curves(curves_of_run)]
    if as_json:
        cells = [rows[cell["run"], cell["key"]] | cell for task in tasks for cell in task.cells()]
        shown = {"cells": cells, "curves": [plain(one) for run in curves.values() for one in run]}
        envelopes_shown = [plain(one) for one in worst]
        typer.echo(json.dumps({"schema": "afdctl/1", "suite": suite, **shown, "envelopes": envelopes_shown}))
        return
    console = TableConsole()
    for run, of_run in curves.items():
        for norm in dict.fromkeys(one.norm for one in of_run):
            chosen = [one for one in of_run if one.norm == norm]
            bounds = [one for one in worst if (one.run, one.norm) == (run, norm)]
            console.print_fitting(partial(accuracy_table, run, norm, chosen, bounds), len(OPTIONAL))
            console.print(caption(norm, chosen), soft_wrap=True)
            console.print()


class TableConsole(Console):
    """Where tables go: nothing is folded in a pipe, and a reader that leaves ends the command quietly."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_terminal:
            self.width = PIPE_WIDTH

    def on_broken_pipe(self) -> None:
        raise broken_pipe_error()

    def print_fitting(self, draw: Callable[[int], Table], most: int) -> None:
        """Print `draw(n)` with as many of its `most` optional columns as there is room for, and what it left out."""
        roomy = self.options.update(width=PIPE_WIDTH)
        for optional in range(most, -1, -1):
            table = draw(optional)
            if self.measure(table, options=roomy).maximum <= self.width:
                break
        self.print(table)
        shown = {column.header for column in table.columns}
        if left_out := [str(column.header) for column in draw(most).columns if column.header not in shown]:
            self.print(f"No room for {', '.join(left_out)}: a wider terminal or --json shows them.")


def accuracy_table(
    run: str, norm: str, curves: "Sequence[Curve]", worst: "Iterable[WorstCaseCurve]", optional: int = len(OPTIONAL)
) -> Table:
    """One run's accuracies in one norm, in percent: a row an attack, a column an epsilon, then optional ones."""
    title = f"{run}: accuracy (%) in {NORM_LABELS[norm]}, {curves[0].n:,} test images"
    table = Table(title=title, title_justify="left")
    epsilons = sorted({epsilon for one in curves for epsilon in one.epsilons})
    table.add_column("attack", no_wrap=True)
    for epsilon in epsilons:
        table.add_column("clean" if epsilon == 0 else format_epsilon(epsilon), justify="right", no_wrap=True)
    for heading in OPTIONAL[:optional]:
        table.add_column(heading, justify="left" if heading == "schedule" else "right", no_wrap=True)
    for one in curves:
        table.add_row(named(one), *percents(one, epsilons), *figures(one)[:optional])
    for bound in worst:
        table.add_row("worst of all", *percents(bound, epsilons), style="bold")
    return table


def named(one: "Curve") -> str:
    """`pgd_linf`, or `pgd_linf from digits_nt-001`."""
    return one.attack + (f" from {one.source}" if one.source else "")


def figures(one: "Curve") -> tuple[str, ...]:
    """The optional columns of an attack."""
    optimal = "" if one.optimality is None else f"{one.optimality:.2f}"
    # under a budget, distances end where the grid does, so only a search for the nearest has an exact area
    exact = f"{one.auc_step:.3f}" if one.schedule == "once" else ""
    return f"{one.auc:.3f}", optimal, exact, f"{one.passes:,.0f}", one.schedule


def percents(one: "Curve | WorstCaseCurve", epsilons: Iterable[float]) -> list[str]:
    known = dict(zip(one.epsilons, one.accuracies, strict=True))
    return [f"{100 * known[epsilon]:.1f}" if epsilon in known else "" for epsilon in epsilons]


def caption(norm: str, curves: "Sequence[Curve]") -> str:
    """What a reader must know of the table: how exact it is, and what it does not say."""
    from afdctl.evaluation.statistics import other_grids, wilson

    n = curves[0].n
    sides = [
        max(accuracy - low, high - accuracy)
        for one in curves
        for accuracy in one.accuracies
        for low, high in [wilson(round(accuracy * n), n)]
    ]
    lines = [f"95 % intervals (Wilson): at most {100 * max(sides):.1f} points either way."]
    if any(one.source for one in curves):
        lines.append(TRANSFERS)
    if not any(one.parts and one.source is None for one in curves):
        lines.append("No AutoAttack: robust accuracy may be lower.")
    if any(one.precision == "bf16" for one in curves):
        lines.append("Searched in bfloat16, verified in float32: a search in float32 may find more.")
    if unlike := other_grids((named(one), one.epsilons) for one in curves):
        lines.append(unlike)
    for one in curves:
        if one.parts:
            broken = ", ".join(f"{name} {count}" for name, count in one.parts.items())
            lines.append(f"{one.attack} at {format_epsilon(one.epsilons[-1])} fooled by: {broken} images.")
    lines += [f"Warning: {line}." for line in dict.fromkeys(line for one in curves for line in one.warnings)]
    return " ".join(lines)
