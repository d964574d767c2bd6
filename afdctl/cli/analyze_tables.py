"""One analysis of several runs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.table import Table

from afdctl.cli.evaluation_tables import TableConsole
from afdctl.cli.output_path import OutputPath, runs_in_words
from afdctl.formatting import format_epsilon

if TYPE_CHECKING:
    from afdctl.runs.run import Run
    from afdctl.runs.shards import Arrays


@dataclass(frozen=True)
class AnalysisOfRuns:
    """The journal's rows of the analysis `name`, by the runs' names; there is at least one."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    runs: "Mapping[str, Run]"

    @property
    def figures(self) -> dict[str, Mapping[str, Any]]:
        """Run -> results."""
        return {run: row["metrics"] for run, row in self.rows.items()}

    def arrays(self, run: str) -> "Arrays":
        from afdctl.runs import shards

        return shards.read(self.runs[run], self.rows[run]["shard"])

    @property
    def images(self) -> str:
        """On how many test images: `360 test images`."""
        counts = sorted({row["n"] for row in self.rows.values()})
        return f"{' and '.join(f'{count:,}' for count in counts)} test images"

    def epsilons(self) -> list[float]:
        """All epsilons of all runs, ascending."""
        return sorted({epsilon for figures in self.figures.values() for epsilon in figures["epsilons"]})


if TYPE_CHECKING:
    from afdctl.runs.run import Run

Row = dict[str, Any]


def show(found: "Sequence[tuple[Run, dict[str, Row]]]", as_json: bool, out: OutputPath | None) -> None:
    """Print each analysis of all runs, and where its picture lies; `found` holds each run with its rows by name."""
    runs, names = {run.name: run for run, _ in found}, list(found[0][1])
    console = TableConsole()
    drawn = pictures(list(runs.values()), names, out) if out or (console.is_terminal and not as_json) else {}
    if as_json:
        rows = [shown(run.name, row) for run, rows in found for row in rows.values()]
        paths = {"pictures": {name: str(path) for name, path in drawn.items()}} if drawn else {}
        typer.echo(json.dumps({"schema": "afdctl/1", "analyses": rows, **paths}))
        return
    for name in names:
        print_one(console, AnalysisOfRuns(name, {run.name: rows[name] for run, rows in found}, runs))
        if name in drawn:
            console.print(f"picture: {drawn[name]}", soft_wrap=True)
        console.print()


def print_one(console: TableConsole, one: AnalysisOfRuns) -> None:
    """Its tables, and on a terminal its plots."""
    for part in TABLES[one.name](one):
        if isinstance(part, str):
            console.print(part, soft_wrap=not console.is_terminal)
        else:
            console.print_fitting(*part)
    for run, row in one.rows.items():
        for line in row["warnings"]:
            console.print(f"Warning on {run}: {line}.", soft_wrap=True)
    if console.is_terminal:
        from afdctl.cli.analyze_plots import plots

        for plot in plots(one, console.width):
            console.file.write(plot)


def pictures(runs: "Sequence[Run]", names: Sequence[str], out: OutputPath | None) -> dict[str, Path]:
    """Draw each analysis of the runs: to `out`, with the analysis in its name where there are several, or in a run.

    Without `out` they go to the folder figures/ of the first run.
    """
    from afdctl.export.figures.catalogue import FIGURES
    from afdctl.export.figures.page import save
    from afdctl.runs.record import Record

    records = [Record.of(run) for run in runs]
    paths = {}
    for name in names:
        paths[name] = picture(runs, name, out, alone=len(names) == 1)
        save(FIGURES[name].build(records), paths[name])
    return paths


def picture(runs: "Sequence[Run]", name: str, out: OutputPath | None, *, alone: bool) -> Path:
    """Where the picture of one analysis goes; the only one has the very name of `out`."""
    several = f"-of-{len(runs)}-runs" if len(runs) > 1 else ""
    if out is None:
        return OutputPath(runs[0].path / "figures", slash=True).file(f"{name}{several}.svg")
    if out.is_folder:
        return out.file(f"{runs_in_words([run.name for run in runs])}-{name}.svg")
    return out.file("") if alone else replace(out, path=out.path.with_stem(f"{out.path.stem}-{name}")).file("")


def shown(run: str, row: Row) -> Row:
    """What the command line prints of an analysis."""
    about = ("name", "checkpoint", "n", "seed", "seconds", "warnings")
    return {"run": run, **{key: row[key] for key in about}, **row["metrics"]}


Draw = Callable[[int], Table]
"""The table with so much of what it can do without."""
Parts = Iterator[str | tuple[Draw, int]]
"""A line, or a table and how much of it is optional."""

ESTIMATES: Final = ("raw", "calibrated", "probe")


def made(*columns: str) -> Table:
    """An empty table: the first column is text, the others figures."""
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def pca(found: AnalysisOfRuns) -> Parts:
    yield f"pca: principal components of z that hold 99 % of its variance, {found.images}"
    yield counted(found, "dims"), 0


def units(found: AnalysisOfRuns) -> Parts:
    yield f"units: features that are not zero for some image, {found.images}"
    yield counted(found, "units"), 0


def counted(found: AnalysisOfRuns, what: str) -> Draw:
    """How many of the features of each run."""

    def draw(optional: int) -> Table:
        table = made("run", what, "of")
        for run, figures in found.figures.items():
            table.add_row(run, f"{figures[what]}", f"{figures['features']}")
        return table

    return draw


def sensitivity(found: AnalysisOfRuns) -> Parts:
    yield f"sensitivity: ‖F(x) − F(x')‖ / ‖F(x)‖ under PGD-L∞, median (± deviation where there is room), {found.images}"
    yield over_epsilons(found, lambda figures: figures), 1


def over_epsilons(found: AnalysisOfRuns, part: Callable[[Mapping[str, Any]], Mapping[str, list[float]]]) -> Draw:
    """A row a run: the median at each epsilon, and where there is room its deviation."""
    epsilons = found.epsilons()

    def draw(optional: int) -> Table:
        table = made("run", *("natural" if epsilon == 0 else format_epsilon(epsilon) for epsilon in epsilons))
        for run, figures in found.figures.items():
            spreads = zip(part(figures)["median"], part(figures)["std"], strict=True)
            known = {
                one: spread(*found_there, optional)
                for one, found_there in zip(figures["epsilons"], spreads, strict=True)
            }
            table.add_row(run, *(known.get(one, "") for one in epsilons))
        return table

    return draw


def spread(median: float | None, std: float | None, optional: int) -> str:
    """`0.420 ± 0.081`."""
    return f"{of(median, '.3f')} ± {of(std, '.3f')}" if optional else of(median, ".3f")


NORMS: Final = {
    "feature_norm": "‖F(x)‖ before its normalisation",
    "logit_scale": "‖logits‖, centred",
    "margin": "the label's logit over the next",
}


def norms(found: AnalysisOfRuns) -> Parts:
    for name, meaning in NORMS.items():
        yield f"{name}: {meaning}, under PGD-L∞, median (± deviation where there is room), {found.images}"
        yield over_epsilons(found, itemgetter(name)), 1


def embedding(found: AnalysisOfRuns) -> Parts:
    for run, figures in found.figures.items():
        strengths = ", ".join(map(format_epsilon, figures["epsilons"][1:]))
        yield f"{found.name}: {run}, {figures['images']:,} test images, natural and under PGD-L∞ at {strengths}"


def hdh(found: AnalysisOfRuns) -> Parts:
    for run, row in found.rows.items():
        cells = row["metrics"]["cells"]
        err_nat = f"err_nat {100 * cells[0]['err_nat']:.1f} %"
        yield f"hdh: {run}, estimates of d_HΔH and the slack of Eq. 5, {row['n']:,} test images, {err_nat}"
        yield partial(divergences, cells), len(ESTIMATES)
        yield caption(row)


def divergences(cells: list[Mapping[str, Any]], optional: int) -> Table:
    """A row an attack and an epsilon; so many of the three slacks, that of the probe first."""
    slacks = ESTIMATES[::-1][:optional]
    table = made("attack", "ε", "err_adv", "gap", *ESTIMATES, *(f"slack {name}" for name in slacks))
    for cell in cells:
        errors = [f"{100 * cell[key]:.1f}" for key in ("err_adv", "gap")]
        estimates = [of(cell[name], ".3f") for name in ESTIMATES]
        table.add_row(
            cell["attack"],
            format_epsilon(cell["epsilon"]),
            *errors,
            *estimates,
            *(of(cell[f"slack_{name}"], "+.3f") for name in slacks),
        )
    return table


def of(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


def caption(row: Mapping[str, Any]) -> str:
    """What the estimates can be trusted with."""
    correlated = [
        f"{name} r = {one['r']:.2f} ({one['low']:.2f} to {one['high']:.2f}, {one['cells']} cells)"
        for name, one in row["metrics"]["correlation"].items()
        if one
    ]
    lines = ["Errors and gap in percent, of the very images whose features are compared."]
    if row["metrics"]["cells"] and row["metrics"]["cells"][0]["raw"] is None:
        lines.append("This run has no discriminator of its own: there is only the probe.")
    if any(cell["attack"] == "aa" for cell in row["metrics"]["cells"]):
        lines.append("Where AutoAttack fools nothing, its x' is x: its d and gap are those of what it fooled.")
    # alpha is the sum of two shares, and d twice its distance from 1
    chance = 2 * 1.96 * (0.5 / row["n"]) ** 0.5
    lines.append(f"Below {chance:.2f} a probe's d is no different from chance.")
    if correlated:
        lines.append(f"Correlation of d and gap (95 %, as if cells were independent): {'; '.join(correlated)}.")
    return " ".join(lines)


TABLES: Final[Mapping[str, Callable[[AnalysisOfRuns], Parts]]] = {
    "pca": pca,
    "units": units,
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
    "tsne": embedding,
    "umap": embedding,
}
