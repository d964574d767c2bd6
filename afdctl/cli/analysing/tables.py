"""A table for each analysis, the runs side by side."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rich.table import Table

from afdctl.cli.accuracies import name_of
from afdctl.cli.analysing.of_runs import OfRuns

Parts = Iterator[Table | str]

ESTIMATES: Final = ("raw", "calibrated", "probe")


def made(*columns: str) -> Table:
    """An empty table: the first column is text, the others figures."""
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def pca(found: OfRuns) -> Parts:
    yield f"pca: principal components of z that hold 99 % of its variance, {found.images}"
    table = made("run", "dims", "of")
    for run, figures in found.figures.items():
        table.add_row(run, f"{figures['dims']}", f"{figures['features']}")
    yield table


def units(found: OfRuns) -> Parts:
    yield f"units: features that are not zero for some image, {found.images}"
    table = made("run", "units", "of")
    for run, figures in found.figures.items():
        table.add_row(run, f"{figures['units']}", f"{figures['features']}")
    yield table


def sensitivity(found: OfRuns) -> Parts:
    epsilons = found.epsilons()
    yield f"sensitivity: ‖F(x) − F(x')‖ / ‖F(x)‖ under PGD-L∞, median ± deviation, {found.images}"
    table = made("run", *map(name_of, epsilons))
    for run, figures in found.figures.items():
        table.add_row(run, *spread(figures["epsilons"], figures, epsilons))
    yield table


def spread(at: list[float], figures: Mapping[str, list[float]], epsilons: list[float]) -> list[str]:
    """`0.42 ± 0.08` at each epsilon that there is a figure for."""
    known = dict(zip(at, zip(figures["median"], figures["std"], strict=True), strict=True))
    return [f"{known[one][0]:.3f} ± {known[one][1]:.3f}" if one in known else "" for one in epsilons]


NORMS: Final = {
    "feature_norm": "‖F(x)‖ before its normalisation",
    "logit_scale": "‖logits‖, centred",
    "margin": "the label's logit over the next",
}


def norms(found: OfRuns) -> Parts:
    epsilons = found.epsilons()
    columns = ["natural" if epsilon == 0 else name_of(epsilon) for epsilon in epsilons]
    for name, meaning in NORMS.items():
        yield f"{name}: {meaning}, under PGD-L∞, median ± deviation, {found.images}"
        table = made("run", *columns)
        for run, figures in found.figures.items():
            table.add_row(run, *spread(figures["epsilons"], figures[name], epsilons))
        yield table


def embedding(found: OfRuns) -> Parts:
    for run, figures in found.figures.items():
        strengths = ", ".join(map(name_of, figures["epsilons"][1:]))
        yield f"{found.name}: {run}, {figures['images']:,} test images, natural and under PGD-L∞ at {strengths}"


def hdh(found: OfRuns) -> Parts:
    for run, row in found.rows.items():
        cells = row["figures"]["cells"]
        columns = ["attack", "ε", "err_nat", "err_adv", "gap", *ESTIMATES, *(f"slack {name}" for name in ESTIMATES)]
        yield f"hdh: {run}, estimates of d_HΔH and the slack of Eq. 5, {row['n']:,} test images"
        table = made(*columns)
        for cell in cells:
            errors = [f"{100 * cell[key]:.1f}" for key in ("err_nat", "err_adv", "gap")]
            estimates = [of(cell[name], ".3f") for name in ESTIMATES]
            slacks = [of(cell[f"slack_{name}"], "+.3f") for name in ESTIMATES]
            table.add_row(cell["attack"], name_of(cell["epsilon"]), *errors, *estimates, *slacks)
        yield table
        yield caption(row)


def of(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


def caption(row: Mapping[str, Any]) -> str:
    """What the estimates can be trusted with."""
    correlated = [
        f"{name} r = {one['r']:.2f} ({one['low']:.2f} to {one['high']:.2f}, {one['cells']} cells)"
        for name, one in row["figures"]["correlation"].items()
        if one
    ]
    lines = ["Errors and gap in percent, of the very images whose features are compared."]
    if row["figures"]["cells"] and row["figures"]["cells"][0]["raw"] is None:
        lines.append("This run has no discriminator of its own: there is only the probe.")
    # alpha is the sum of two shares, and d twice its distance from 1
    chance = 2 * 1.96 * (0.5 / row["n"]) ** 0.5
    lines.append(f"Below {chance:.2f} a probe's d is no different from chance.")
    if correlated:
        lines.append(f"Correlation of d and gap (95 %, as if cells were independent): {'; '.join(correlated)}.")
    return " ".join(lines)


TABLES: Final[Mapping[str, Callable[[OfRuns], Parts]]] = {
    "pca": pca,
    "units": units,
    "sensitivity": sensitivity,
    "norms": norms,
    "hdh": hdh,
    "tsne": embedding,
    "umap": embedding,
}
