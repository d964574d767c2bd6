"""A table for each analysis, the runs side by side."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, Final

from rich.table import Table

from afdctl.cli.analysing.of_runs import OfRuns
from afdctl.profile.grid import name_of

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


def pca(found: OfRuns) -> Parts:
    yield f"pca: principal components of z that hold 99 % of its variance, {found.images}"
    yield counted(found, "dims"), 0


def units(found: OfRuns) -> Parts:
    yield f"units: features that are not zero for some image, {found.images}"
    yield counted(found, "units"), 0


def counted(found: OfRuns, what: str) -> Draw:
    """How many of the features of each run."""

    def draw(optional: int) -> Table:
        table = made("run", what, "of")
        for run, figures in found.figures.items():
            table.add_row(run, f"{figures[what]}", f"{figures['features']}")
        return table

    return draw


def sensitivity(found: OfRuns) -> Parts:
    yield f"sensitivity: ‖F(x) − F(x')‖ / ‖F(x)‖ under PGD-L∞, median (± deviation where there is room), {found.images}"
    yield over_epsilons(found, lambda figures: figures), 1


def over_epsilons(found: OfRuns, part: Callable[[Mapping[str, Any]], Mapping[str, list[float]]]) -> Draw:
    """A row a run: the median at each epsilon, and where there is room its deviation."""
    epsilons = found.epsilons()

    def draw(optional: int) -> Table:
        table = made("run", *("natural" if epsilon == 0 else name_of(epsilon) for epsilon in epsilons))
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


def norms(found: OfRuns) -> Parts:
    for name, meaning in NORMS.items():
        yield f"{name}: {meaning}, under PGD-L∞, median (± deviation where there is room), {found.images}"
        yield over_epsilons(found, itemgetter(name)), 1


def embedding(found: OfRuns) -> Parts:
    for run, figures in found.figures.items():
        strengths = ", ".join(map(name_of, figures["epsilons"][1:]))
        yield f"{found.name}: {run}, {figures['images']:,} test images, natural and under PGD-L∞ at {strengths}"


def hdh(found: OfRuns) -> Parts:
    for run, row in found.rows.items():
        cells = row["figures"]["cells"]
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
            cell["attack"], name_of(cell["epsilon"]), *errors, *estimates,
            *(of(cell[f"slack_{name}"], "+.3f") for name in slacks),
        )  # fmt: skip
    return table


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
    if any(cell["attack"] == "aa" for cell in row["figures"]["cells"]):
        lines.append("Where AutoAttack fools nothing, its x' is x: its d and gap are those of what it fooled.")
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
