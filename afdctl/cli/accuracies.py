"""The figures of a sweep: tables for people, one JSON object for pipelines."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from afdctl.sweep.plan import Task
    from afdctl.sweep.summary import Curve, Envelope

PIPE_WIDTH = 200
NORMS = {"linf": "L-infinity", "l2": "L2", "l1": "L1"}


def show(tasks: "Sequence[Task]", rows: dict[str, dict[str, Any]], as_json: bool, profile: str) -> None:
    """Print the figures of a plan whose cells are all there."""
    from afdctl.sweep.summary import as_json as plain
    from afdctl.sweep.summary import envelopes, of_tasks

    curves = of_tasks(tasks, rows)
    worst = [made for curves_of_run in curves.values() for made in envelopes(curves_of_run)]
    if as_json:
        cells = [cell | rows[cell["key"]] for task in tasks for cell in task.cells()]
        shown = {"cells": cells, "curves": [plain(one) for run in curves.values() for one in run]}
        envelopes_shown = [plain(one) for one in worst]
        typer.echo(json.dumps({"schema": "afdctl/1", "profile": profile, **shown, "envelopes": envelopes_shown}))
        return
    console = wide(Console(highlight=False, markup=False, emoji=False))
    for run, of_run in curves.items():
        for norm in dict.fromkeys(one.norm for one in of_run):
            chosen = [one for one in of_run if one.norm == norm]
            console.print(
                accuracy_table(run, norm, chosen, [one for one in worst if (one.run, one.norm) == (run, norm)])
            )
            console.print(caption(norm, chosen), soft_wrap=True)
            console.print()


def wide(console: Console) -> Console:
    """In a pipe nothing is folded: a table has room for every column."""
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def accuracy_table(run: str, norm: str, curves: "Sequence[Curve]", worst: "Iterable[Envelope]") -> Table:
    """One run's accuracies in one norm, in percent: a row an attack, a column an epsilon."""
    table = Table(title=f"{run}: accuracy (%) in {NORMS[norm]}, {curves[0].n:,} test images", title_justify="left")
    epsilons = sorted({epsilon for one in curves for epsilon in one.epsilons})
    table.add_column("attack")
    for epsilon in epsilons:
        table.add_column("clean" if epsilon == 0 else name_of(epsilon), justify="right")
    for heading in ("AUC", "exact", "optimal", "passes"):
        table.add_column(heading, justify="right")
    table.add_column("schedule")
    for one in curves:
        name = one.attack + (f" from {one.source}" if one.source else "")
        optimal = "" if one.optimality is None else f"{one.optimality:.2f}"
        figures = (f"{one.auc:.3f}", f"{one.auc_step:.3f}", optimal, f"{one.passes:,.0f}")
        table.add_row(name, *percents(one, epsilons), *figures, one.schedule)
    for bound in worst:
        table.add_row("worst of all", *percents(bound, epsilons), "", f"{bound.auc_step:.3f}", style="bold")
    return table


def percents(one: "Curve | Envelope", epsilons: Iterable[float]) -> list[str]:
    known = dict(zip(one.epsilons, one.accuracies, strict=True))
    return [f"{100 * known[epsilon]:.1f}" if epsilon in known else "" for epsilon in epsilons]


def name_of(epsilon: float) -> str:
    """An epsilon as people write it: a short decimal, or `8/255`."""
    pixels = epsilon * 255
    if float(f"{epsilon:.3g}") == epsilon or abs(pixels - round(pixels)) > 1e-6:
        return f"{epsilon:.4g}"
    return f"{pixels:.0f}/255"


def caption(norm: str, curves: "Sequence[Curve]") -> str:
    """What a reader must know of the table: how exact it is, and what it does not say."""
    from afdctl.sweep.figures import wilson

    n = curves[0].n
    widest = max(
        high - low for one in curves for accuracy in one.accuracies for low, high in [wilson(round(accuracy * n), n)]
    )
    lines = [f"95 % intervals: at most {100 * widest / 2:.1f} points either way."]
    if any(one.source for one in curves):
        lines.append("Images made against another model: black box, no bound on white-box accuracy.")
    elif not any(one.parts for one in curves):
        lines.append("No AutoAttack: robust accuracy may be lower.")
    for one in curves:
        if one.parts:
            broken = ", ".join(f"{name} {count}" for name, count in one.parts.items())
            lines.append(f"{one.attack} at {name_of(one.epsilons[-1])} fooled by: {broken} images.")
    return " ".join(lines)
