"""Figure 3: estimated d_HdH against the gap between adversarial and natural error."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from afdctl.export.figures.page import (
    TEXT_WIDTH,
    TITLES,
    PaperFigure,
    analysis_checkpoints,
    analysis_metrics,
    titles_of,
    write_in_panel,
)
from afdctl.export.figures.style import (
    GREY,
    LineStyle,
    draw_curve,
    legend_line,
    line_style,
    mean_over_runs,
    styled,
)
from afdctl.export.groups import Group, has_seeds, plot_groups
from afdctl.image_counts import format_n
from afdctl.registry import BLACK, BLUE, ORANGE, RED
from afdctl.runs.record import Record

ESTIMATES: Final[Mapping[str, LineStyle]] = {
    # the probe first: every run has it
    "probe": LineStyle(RED, (0, (5, 1.2, 1, 1.2)), "D"),
    "calibrated": LineStyle(BLUE, "-", "s"),
    "raw": LineStyle(ORANGE, (0, (1, 1.2)), "^"),
}
GAP: Final = LineStyle(BLACK, (0, (4, 1.5)), "o")
D_HDH: Final = r"$d_{\mathcal{H}\Delta\mathcal{H}}$"
# the attack of panel (a)
CURVE_ATTACK: Final = "pgd_linf"
Cells = list[dict[str, Any]]


@styled
def hdh(records: Sequence[Record]) -> PaperFigure:
    """Draw a row per method.

    (a) shows the estimates and the gap over epsilon for PGD-Linf, (b) a scatter per estimate for all attacks.
    """
    groups = plot_groups(record for record in records if "hdh" in record.analyses)
    cells = [cell for group in groups for cell in _cells(group)]
    estimates = {name: style for name, style in ESTIMATES.items() if any(cell[name] is not None for cell in cells)}
    title = f"Estimated H-delta-H distance on {titles_of(groups)}"
    page = PaperFigure(title, records, TEXT_WIDTH, 1.0 + 1.5 * len(groups))
    grid = page.subplots(len(groups), 1 + len(estimates), squeeze=False, width_ratios=[1.2] + [1] * len(estimates))
    attack_styles = _attack_styles(cells)
    for group, (left, *scatters) in zip(groups, grid, strict=True):
        _draw_over_epsilon(left, group, estimates)
        for panel, estimate in zip(scatters, estimates, strict=True):
            _draw_scatter(panel, group, estimate, attack_styles)
        scatters[0].set_ylabel("Error gap")
        for panel in scatters[1:]:
            panel.tick_params(labelleft=False)
    for panel, label in zip(grid[-1], ["Epsilon"] + [D_HDH] * len(estimates), strict=True):
        panel.set_xlabel(label)
    curves = {f"{D_HDH} {name}": style for name, style in estimates.items()} | {"error gap": GAP}
    dots = {TITLES.get(name, name): style._replace(dashes="none") for name, style in attack_styles.items()}
    page.legend_above(*({name: legend_line(style) for name, style in part.items()} for part in (curves, dots)))
    page.caption(
        f"{titles_of(groups)} test split",
        format_n(record.analyses["hdh"] for group in groups for record in group.records),
        "error gap: adversarial error minus natural error",
        "grey line: gap = d/2",
        "r: Pearson correlation with its 95 % interval, or ± standard deviation over runs",
        analysis_checkpoints(groups, "hdh"),
    )
    return page


def _cells(group: Group) -> Cells:
    return [cell for record in group.records for cell in _cells_of(record)]


def _cells_of(record: Record) -> Cells:
    cells: Cells = analysis_metrics(record, "hdh")["cells"]
    return cells


def _attack_styles(cells: Cells) -> dict[str, LineStyle]:
    """Choose each attack's colour and marker, the same in all panels; the paper's attacks first."""
    # from all groups, so that a colour means the same attack in every row
    present = {cell["attack"] for cell in cells}
    ordered = [*(attack for attack in TITLES if attack in present), *sorted(present - set(TITLES))]
    return {attack: line_style(number) for number, attack in enumerate(ordered)}


def _draw_over_epsilon(panel: Axes, group: Group, estimates: Mapping[str, LineStyle]) -> None:
    """Draw panel (a): d on the left axis in [0, 2], the gap on the right axis in [0, 1]."""
    runs = [[cell for cell in _cells_of(record) if cell["attack"] == CURVE_ATTACK] for record in group.records]
    for estimate, style in estimates.items():
        curves = [{cell["epsilon"]: cell[estimate] for cell in run if cell[estimate] is not None} for run in runs]
        if mean := mean_over_runs([curve for curve in curves if curve]):
            draw_curve(panel, mean, style, estimate)
    gaps = panel.twinx()
    if mean := mean_over_runs([{cell["epsilon"]: cell["gap"] for cell in run} for run in runs if run]):
        draw_curve(gaps, mean, GAP, "gap")
    else:
        write_in_panel(panel, f"no {TITLES[CURVE_ATTACK]}")
    panel.set(ylim=(0, 2), ylabel=D_HDH)
    panel.set_xlim(left=0)
    panel.set_title(f"(a) {group.label}", loc="left")
    # half of the range of d: where the gap is above d / 2, Eq. 5 holds only with its lambda
    gaps.set(ylim=(0, 1), ylabel="Error gap")
    gaps.spines["right"].set_visible(True)
    gaps.grid(visible=False)


def _draw_scatter(panel: Axes, group: Group, estimate: str, attack_styles: Mapping[str, LineStyle]) -> None:
    """Draw panel (b): a dot is one attack at one epsilon."""
    panel.set(xlim=(0, 2), ylim=(0, 1), xticks=[0, 1, 2])
    cells = [cell for cell in _cells(group) if cell[estimate] is not None]
    panel.set_title(f"(b) {estimate}\n{_correlation(group, estimate)}", loc="left", fontsize=7)
    if not cells:
        write_in_panel(panel, "trained without\na discriminator")
        panel.set_axis_off()
        return
    panel.plot([0, 2], [0, 1], color=GREY, linewidth=0.6, zorder=1)
    for attack in dict.fromkeys(cell["attack"] for cell in cells):
        x, y = ([cell[key] for cell in cells if cell["attack"] == attack] for key in (estimate, "gap"))
        colour, _, marker = attack_styles[attack]
        panel.plot(x, y, color=colour, marker=marker, linestyle="none", markersize=2.8, alpha=0.8, clip_on=False)


def _correlation(group: Group, estimate: str) -> str:
    """Format r with its interval, or its mean and deviation over several runs."""
    results = {record: analysis_metrics(record, "hdh")["correlation"][estimate] for record in group.records}
    correlations = {record: correlation for record, correlation in results.items() if correlation is not None}
    if not correlations:
        return ""
    values = [correlation["r"] for correlation in correlations.values()]
    if len(values) == 1:
        return "r {r:.2f} [{low:.2f}, {high:.2f}]".format_map(*correlations.values())
    return f"r {np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if has_seeds(correlations) else "")
