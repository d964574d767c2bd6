"""Figures 2, A1 to A3 and A5: accuracy under nine white-box attacks over epsilon."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from afdctl.errors import RecipeError
from afdctl.export.figures.page import (
    TEXT_WIDTH,
    TITLES,
    PaperFigure,
    checkpoints,
    is_swept,
    titles_of,
    write_in_panel,
)
from afdctl.export.figures.style import (
    GREY,
    LineStyle,
    draw_curve,
    fill_band,
    line_styles,
    mean_over_runs,
    styled,
)
from afdctl.export.groups import Group, plot_groups
from afdctl.image_counts import format_n
from afdctl.journal import Row
from afdctl.runs.record import Record


@styled
def robustness(records: Sequence[Record]) -> PaperFigure:
    """Draw accuracy in percent over epsilon: a panel per attack, a curve per method, clean accuracy at 0.

    The band of one run is Wilson's 95 % interval, that of several seeds one standard deviation.
    """
    groups = plot_groups(records)
    # an epsilon means another strength on images of another data set
    if len({group.dataset for group in groups}) > 1:
        raise RecipeError(f"the runs are of several data sets ({titles_of(groups)}); name runs of one for this figure")
    styles, lines = line_styles(groups), dict[str, Line2D]()
    swept = [group for group in groups if any(map(is_swept, group.records))]
    page = PaperFigure(f"Adversarial accuracy on {titles_of(groups)}", records, TEXT_WIDTH, 4.6)
    panels = page.subplots(3, 3, sharey=True)
    for panel, (attack, title) in zip(panels.flat, TITLES.items(), strict=True):
        drawn = {group.label: line for group in swept if (line := _draw(panel, group, attack, styles[group.label]))}
        lines |= drawn
        _label(panel, attack, title, [group.label for group in swept if group.label not in drawn])
    # the panels share this axis
    panels[0, 0].set_ylim(0, 100)
    for left, bottom in zip(panels[:, 0], panels[-1], strict=True):
        left.set_ylabel("Accuracy (%)")
        bottom.set_xlabel("Epsilon")
    page.legend_above({group.label: lines[group.label] for group in swept})
    absent = ", ".join(group.label for group in groups if group not in swept)
    page.caption(f"{titles_of(groups)} test split", *_precision(swept), absent and f"no results yet: {absent}")
    return page


def _draw(panel: Axes, group: Group, attack: str, style: LineStyle) -> Line2D | None:
    """Draw the curve of a group's runs under an attack; None where no run was attacked."""
    curves = [record.curves[attack, None] for record in group.records if (attack, None) in record.curves]
    mean = mean_over_runs([curve.by_epsilon() for curve in curves])
    if mean is None:
        return None
    # draw_curve shades the deviation over several runs
    if mean.runs == 1:
        low, high = 100 * np.array(curves[0].intervals).T
        fill_band(panel, mean.x, low, high, style.colour)
    return draw_curve(panel, mean, style, group.label, scale=100)


def _label(panel: Axes, attack: str, title: str, missing: list[str]) -> None:
    """Write title and ticks, and which curves are missing."""
    panel.set_title(title, loc="left")
    panel.margins(x=0)
    panel.locator_params(axis="x", nbins=4)
    if not panel.get_lines():
        # ticks of matplotlib's default range would look like a grid of epsilons
        panel.set_xticks([])
        panel.grid(visible=False)
        # in lines, because a third of the text width holds about 35 characters
        write_in_panel(panel, f"not measured yet:\nafdctl sweep RUN\n--suite paper-A2\n--attacks {attack}")
    elif missing:
        text = f"no {missing[0]}" if len(missing) == 1 else f"{len(missing)} not swept"
        panel.set_title(text, loc="right", color=GREY, fontsize=7)


def _precision(groups: Sequence[Group]) -> list[str]:
    """Describe the number of images and the bands, and which results are not of the best checkpoint or not float32."""
    rows = [row for group in groups for record in group.records for row in _cells(record)]
    counts = [len(group.records) for group in groups]
    has_seeds = max(counts, default=1) > 1
    bands = ["Wilson 95 % interval of single runs" if has_seeds else "Wilson 95 % interval"] if 1 in counts else []
    bands += [f"one standard deviation over up to {max(counts)} runs"] if has_seeds else []
    in_bf16 = dict.fromkeys(TITLES[row["attack"]] for row in rows if row["precision"] == "bf16")
    search = f"searched in bf16: {', '.join(in_bf16)}" if in_bf16 else ""
    return [format_n(rows), f"bands: {' or '.join(bands)}", checkpoints(groups, _cells), search]


def _cells(record: Record) -> list[Row]:
    """List the cells of all panels."""
    curves = [record.curves[attack, None] for attack in TITLES if (attack, None) in record.curves]
    return [cell for curve in curves for cell in curve.cells]
