"""Figure 3: the estimated d_HdH against the gap between adversarial and natural error."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from afdctl.export.figures.robustness import TITLES
from afdctl.export.figures.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
    WIDTH,
    LineStyle,
    PaperFigure,
    checkpoints_of,
    curve,
    datasets,
    figures,
    key,
    line_style,
    say,
    spread,
    styled,
)
from afdctl.export.groups import Group, plot_groups
from afdctl.formatting import format_n
from afdctl.runs.record import Record

ESTIMATES: Final[Mapping[str, LineStyle]] = {
    # the probe first: every run has it
    "probe": LineStyle(RED, (0, (5, 1.2, 1, 1.2)), "D"),
    "calibrated": LineStyle(BLUE, "-", "s"),
    "raw": LineStyle(ORANGE, (0, (1, 1.2)), "^"),
}
GAP: Final = LineStyle(BLACK, (0, (4, 1.5)), "o")
D_HDH: Final = r"$d_{\mathcal{H}\Delta\mathcal{H}}$"
ALONG: Final = "pgd_linf"
"""The attack of panel (a)."""
Cells = list[dict[str, Any]]


@styled
def hdh(records: Sequence[Record]) -> PaperFigure:
    """One row a method: (a) estimates and gap over epsilon for PGD-Linf, (b) one scatter an estimate over all attacks.

    Both axes of (a) are such that d / 2 and the gap are at one height: where the gap is higher, Eq. 5 needs its lambda.
    """
    groups = plot_groups(record for record in records if "hdh" in record.analyses)
    cells = [cell for group in groups for cell in _cells(group)]
    estimates = {name: one for name, one in ESTIMATES.items() if any(cell[name] is not None for cell in cells)}
    page = PaperFigure(f"Estimated H-delta-H distance on {datasets(groups)}", records, WIDTH, 1.0 + 1.5 * len(groups))
    grid = page.subplots(len(groups), 1 + len(estimates), squeeze=False, width_ratios=[1.2] + [1] * len(estimates))
    marks = _marks(cells)
    for group, (along, *scatters) in zip(groups, grid, strict=True):
        _over_epsilon(along, group, estimates)
        for panel, estimate in zip(scatters, estimates, strict=True):
            _scatter(panel, group, estimate, marks)
        scatters[0].set_ylabel("Error gap")
        for panel in scatters[1:]:
            panel.tick_params(labelleft=False)
    for panel, label in zip(grid[-1], ["Epsilon"] + [D_HDH] * len(estimates), strict=True):
        panel.set_xlabel(label)
    curves = {f"{D_HDH} {name}": one for name, one in estimates.items()} | {"error gap": GAP}
    dots = {TITLES.get(name, name): one._replace(dashes="none") for name, one in marks.items()}
    page.legend_above(*({name: key(one) for name, one in part.items()} for part in (curves, dots)))
    page.caption(
        f"{datasets(groups)} test split",
        format_n(cell["n_test"] for cell in cells),
        "error gap: adversarial less natural error",
        "grey line: gap = d/2",
        "r: correlation, [95 % interval] or ± deviation over runs",
        checkpoints_of(groups, "hdh"),
    )
    return page


def _cells(group: Group) -> Cells:
    return [cell for record in group.records for cell in figures(record, "hdh")["cells"]]


def _marks(cells: Cells) -> dict[str, LineStyle]:
    """Attack -> its colour and marker, the same in all panels; the paper's attacks first."""
    present = {cell["attack"] for cell in cells}
    ordered = [*(attack for attack in TITLES if attack in present), *sorted(present - set(TITLES))]
    return {attack: line_style(number) for number, attack in enumerate(ordered)}


def _over_epsilon(panel: Axes, group: Group, estimates: Mapping[str, LineStyle]) -> None:
    """Panel (a): d on the left axis in [0, 2], the gap on the right one in [0, 1]."""
    runs = [[cell for cell in _cells_of(record) if cell["attack"] == ALONG] for record in group.records]
    for estimate, with_look in estimates.items():
        curves = [{cell["epsilon"]: cell[estimate] for cell in run if cell[estimate] is not None} for run in runs]
        if over_runs := spread([one for one in curves if one]):
            curve(panel, over_runs, with_look, estimate)
    gaps = panel.twinx()
    if over_runs := spread([{cell["epsilon"]: cell["gap"] for cell in run} for run in runs if run]):
        curve(gaps, over_runs, GAP, "gap")
    else:
        say(panel, f"no {TITLES[ALONG]}")
    panel.set(ylim=(0, 2), ylabel=D_HDH)
    panel.set_xlim(left=0)
    panel.set_title(f"(a) {group.label}", loc="left")
    gaps.set(ylim=(0, 1), ylabel="Error gap")
    gaps.spines["right"].set_visible(True)
    gaps.grid(visible=False)


def _cells_of(record: Record) -> Cells:
    cells: Cells = figures(record, "hdh")["cells"]
    return cells


def _scatter(panel: Axes, group: Group, estimate: str, marks: Mapping[str, LineStyle]) -> None:
    """Panel (b): a dot is one attack at one epsilon."""
    panel.set(xlim=(0, 2), ylim=(0, 1), xticks=[0, 1, 2])
    cells = [cell for cell in _cells(group) if cell[estimate] is not None]
    panel.set_title(f"(b) {estimate}\n{_correlation(group, estimate)}", loc="left", fontsize=7)
    if not cells:
        say(panel, "has no\ndiscriminator\nof its own")
        panel.set_axis_off()
        return
    panel.plot([0, 2], [0, 1], color=GREY, linewidth=0.6, zorder=1)
    for attack in dict.fromkeys(cell["attack"] for cell in cells):
        x, y = ([cell[key] for cell in cells if cell["attack"] == attack] for key in (estimate, "gap"))
        colour, _, marker = marks[attack]
        panel.plot(x, y, color=colour, marker=marker, linestyle="none", markersize=2.8, alpha=0.8, clip_on=False)


def _correlation(group: Group, estimate: str) -> str:
    """r with its interval, or over several runs its mean and deviation."""
    found = [figures(record, "hdh")["correlation"][estimate] for record in group.records]
    known = [one for one in found if one is not None]
    if not known:
        return ""
    if len(known) == 1:
        return f"r {known[0]['r']:.2f} [{known[0]['low']:.2f}, {known[0]['high']:.2f}]"
    values = [one["r"] for one in known]
    return f"r {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
