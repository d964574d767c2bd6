"""Print the results of analyses as tables."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from afdctl.cli.console import TableConsole
from afdctl.formatting import format_epsilon
from afdctl.image_counts import describe_images

if TYPE_CHECKING:
    from afdctl.runs.run import Run
    from afdctl.runs.shards import Arrays

Row = dict[str, Any]
# Draws a table with a number of its optional columns
DrawTable = Callable[[int], Table]
# Lines of text, and tables with the number of their optional columns
Parts = Iterator[str | tuple[DrawTable, int]]

ESTIMATES: Final = ("raw", "calibrated", "probe")
NORMS: Final = {
    "feature_norm": "‖F(x)‖ before its normalisation",
    "logit_scale": "‖logits‖, centred",
    "margin": "the label's logit minus the largest other one",
}


@dataclass(frozen=True)
class AnalysisOfRuns:
    """The journal's rows of the analysis `name` by run, at least one."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    runs: "Mapping[str, Run]"

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of each run."""
        return {run: row["metrics"] for run, row in self.rows.items()}

    def arrays(self, run: str) -> "Arrays":
        from afdctl.runs import shards

        return shards.read(self.runs[run], self.rows[run]["shard"])

    @property
    def images(self) -> str:
        """Number and choice of the test images: `360 test images`."""
        return describe_images(self.rows.values())

    def epsilons(self) -> list[float]:
        """Return all epsilons of all runs, ascending."""
        return sorted({epsilon for metrics in self.metrics.values() for epsilon in metrics["epsilons"]})


def print_tables(console: TableConsole, analysis: AnalysisOfRuns) -> None:
    """Print the tables and warnings of an analysis."""
    for part in TABLES.get(analysis.name, own)(analysis):
        if isinstance(part, str):
            # in a pipe a line stays whole, so that grep finds all of it
            console.print(part, soft_wrap=not console.is_terminal)
        else:
            console.print_dropping_columns(*part)
    for run, row in analysis.rows.items():
        for warning in row["warnings"]:
            console.print(f"Warning on {run}: {warning}.", soft_wrap=True)


def make_table(*columns: str) -> Table:
    """Make a table with text in its first column and numbers in the others."""
    table = Table()
    # a wrapped number would be read as two, so columns that do not fit are dropped instead
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def pca(analysis: AnalysisOfRuns) -> Parts:
    yield f"pca: principal components of z that hold 99 % of its variance, {analysis.images}"
    yield count_table(analysis, "dims"), 0


def units(analysis: AnalysisOfRuns) -> Parts:
    yield f"units: features that are non-zero for some image, {analysis.images}"
    yield count_table(analysis, "units"), 0


def count_table(analysis: AnalysisOfRuns, metric: str) -> DrawTable:
    """Tabulate a count out of each run's features."""

    def draw(optional: int) -> Table:
        table = make_table("run", metric, "of")
        for run, metrics in analysis.metrics.items():
            table.add_row(run, f"{metrics[metric]}", f"{metrics['features']}")
        return table

    return draw


def sensitivity(analysis: AnalysisOfRuns) -> Parts:
    formula = "‖F(x) − F(x')‖ / ‖F(x)‖ under PGD-L∞"
    yield f"sensitivity: {formula}, median (± deviation where there is room), {analysis.images}"
    yield epsilon_table(analysis, lambda metrics: metrics), 1


def norms(analysis: AnalysisOfRuns) -> Parts:
    # a table for each: three medians per epsilon would be too wide for most terminals
    for name, meaning in NORMS.items():
        yield f"{name}: {meaning}, under PGD-L∞, median (± deviation where there is room), {analysis.images}"
        yield epsilon_table(analysis, itemgetter(name)), 1


def epsilon_table(
    analysis: AnalysisOfRuns, select: Callable[[Mapping[str, Any]], Mapping[str, list[float]]]
) -> DrawTable:
    """Tabulate the medians of each run by epsilon, with their deviations where there is room."""
    epsilons = analysis.epsilons()

    def draw(optional: int) -> Table:
        table = make_table("run", *("natural" if epsilon == 0 else format_epsilon(epsilon) for epsilon in epsilons))
        for run, metrics in analysis.metrics.items():
            values = zip(select(metrics)["median"], select(metrics)["std"], strict=True)
            texts = {
                epsilon: format_median(median, std, with_std=optional > 0)
                for epsilon, (median, std) in zip(metrics["epsilons"], values, strict=True)
            }
            # runs of other data sets have other grids
            table.add_row(run, *(texts.get(epsilon, "") for epsilon in epsilons))
        return table

    return draw


def format_median(median: float | None, std: float | None, *, with_std: bool) -> str:
    """Format `0.420`, or `0.420 ± 0.081`."""
    return f"{format_value(median, '.3f')} ± {format_value(std, '.3f')}" if with_std else format_value(median, ".3f")


def embedding(analysis: AnalysisOfRuns) -> Parts:
    for run, metrics in analysis.metrics.items():
        epsilons = ", ".join(map(format_epsilon, metrics["epsilons"][1:]))
        yield f"{analysis.name}: {run}, {metrics['images']:,} test images, natural and under PGD-L∞ at {epsilons}"


def hdh(analysis: AnalysisOfRuns) -> Parts:
    for run, row in analysis.rows.items():
        cells = row["metrics"]["cells"]
        err_nat = f"err_nat {100 * cells[0]['err_nat']:.1f} %"
        yield f"hdh: {run}, estimates of d_HΔH and the slack of Eq. 5, {describe_images([row])}, {err_nat}"
        yield partial(divergence_table, cells), len(ESTIMATES)
        yield divergence_caption(row)


def divergence_table(cells: list[Mapping[str, Any]], optional: int) -> Table:
    """Tabulate estimates by attack and epsilon, with some of the three slacks, the probe's first."""
    # the probe's comes first, as it is the only one of a run without a discriminator
    slacks = ESTIMATES[::-1][:optional]
    table = make_table("attack", "ε", "err_adv", "gap", *ESTIMATES, *(f"slack {name}" for name in slacks))
    for cell in cells:
        table.add_row(
            cell["attack"],
            format_epsilon(cell["epsilon"]),
            *(f"{100 * cell[key]:.1f}" for key in ("err_adv", "gap")),
            *(format_value(cell[name], ".3f") for name in ESTIMATES),
            *(format_value(cell[f"slack_{name}"], "+.3f") for name in slacks),
        )
    return table


def format_value(value: float | None, spec: str) -> str:
    return "—" if value is None else format(value, spec)


def divergence_caption(row: Mapping[str, Any]) -> str:
    """Write the note on what limits the estimates."""
    from afdctl.runs.curves import Z_95

    cells = row["metrics"]["cells"]
    notes = ["Errors and gap in percent, of the same images whose features are compared."]
    if cells and cells[0]["raw"] is None:
        notes.append("This run has no discriminator, so there is only the probe.")
    if any(cell["attack"] == "aa" for cell in cells):
        notes.append("Where AutoAttack fools nothing, its x' is x: its d and gap are those of the fooled images.")
    # alpha is the sum of two shares, and d twice its distance from 1
    chance = 2 * Z_95 * (0.5 / row["n"]) ** 0.5
    notes.append(f"Below {chance:.2f} a probe's d is no different from chance.")
    correlations = [
        f"{name} r = {pearson['r']:.2f} ({pearson['low']:.2f} to {pearson['high']:.2f}, {pearson['cells']} cells)"
        for name, pearson in row["metrics"]["correlation"].items()
        if pearson
    ]
    if correlations:
        notes.append(f"Correlation of d and gap (95 %, as if cells were independent): {'; '.join(correlations)}.")
    return " ".join(notes)


def own(analysis: AnalysisOfRuns) -> Parts:
    """Tabulate the numbers and texts among the metrics of an analysis that has no table of its own."""
    keys = list(dict.fromkeys(key for metrics in analysis.metrics.values() for key in metrics))
    shown = [key for key in keys if any(is_plain(metrics.get(key)) for metrics in analysis.metrics.values())]
    yield f"{analysis.name}: {analysis.images}"

    def draw(optional: int) -> Table:
        columns = shown[: len(shown) - most + optional]
        table = make_table("run", *columns)
        for run, metrics in analysis.metrics.items():
            table.add_row(run, *(format_plain(metrics.get(key)) for key in columns))
        return table

    most = max(len(shown) - 1, 0)
    if shown:
        yield draw, most
    if others := [key for key in keys if key not in shown]:
        yield f"--json shows {', '.join(others)}."


def is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def format_plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) if is_plain(value) else "—"


def json_row(run: str, row: Row) -> Row:
    """Return what --json prints of an analysis."""
    fields = ("name", "checkpoint", "subset", "n", "split_n", "seed", "seconds", "warnings")
    return {"run": run, **{field: row[field] for field in fields}, **row["metrics"]}


TABLES: Final[Mapping[str, Callable[[AnalysisOfRuns], Parts]]] = {
    "pca": pca,
    "units": units,
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
    "tsne": embedding,
    "umap": embedding,
}
