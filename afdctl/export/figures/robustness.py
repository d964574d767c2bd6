"""Figures 2 and A1 to A3, A5: accuracy under nine white-box attacks over epsilon."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from afdctl.errors import RecipeError
from afdctl.evaluation.statistics import wilson
from afdctl.export.figures.style import (
    GREY,
    WIDTH,
    LineStyle,
    PaperFigure,
    band,
    checkpoints,
    curve,
    datasets,
    line_styles,
    say,
    spread,
    styled,
)
from afdctl.export.groups import Group, plot_groups
from afdctl.export.tables.base import precision_of
from afdctl.formatting import format_n
from afdctl.runs.cells import CurveRows
from afdctl.runs.record import Record

TITLES: Final[Mapping[str, str]] = {
    "pgd_linf": r"PGD-$L_\infty$",
    "pgd_l1": "PGD-$L_1$",
    "pgd_l2": "PGD-$L_2$",
    "fgsm": "FGSM",
    "mim": "MIM",
    "ddn": "DDN",
    "deepfool": "DeepFool",
    "cw": "C&W",
    "aa": "AutoAttack",
}
"""The paper's panels, in its order."""


@styled
def robustness(records: Sequence[Record]) -> PaperFigure:
    """Accuracy in percent over epsilon, one panel an attack, one curve a method, clean accuracy at 0.

    One run: with Wilson's 95 % interval; several seeds of a recipe: their mean and one deviation either way.
    """
    groups = plot_groups(records)
    if len({group.dataset for group in groups}) > 1:
        raise RecipeError(f"accuracies of several data sets ({datasets(groups)}) in one figure; name runs of one")
    styles, lines = line_styles(groups), dict[str, Line2D]()
    swept = [group for group in groups if any(map(is_swept, group.records))]
    page = PaperFigure(f"Adversarial accuracy on {datasets(groups)}", records, WIDTH, 4.6)
    panels = page.subplots(3, 3, sharey=True)
    for panel, (attack, title) in zip(panels.flat, TITLES.items(), strict=True):
        drawn = {group.label: line for group in swept if (line := _draw(panel, group, attack, styles[group.label]))}
        lines |= drawn
        _label(panel, attack, title, [group.label for group in swept if group.label not in drawn])
    panels[0, 0].set_ylim(0, 100)
    for left, below in zip(panels[:, 0], panels[-1], strict=True):
        left.set_ylabel("Accuracy (%)")
        below.set_xlabel("Epsilon")
    page.legend_above({group.label: lines[group.label] for group in swept})
    absent = ", ".join(group.label for group in groups if group not in swept)
    page.caption(f"{datasets(groups)} test split", *_exactness(swept), absent and f"no results yet: {absent}")
    return page


def is_swept(record: Record) -> bool:
    """Whether the run has a curve of one of the attacks."""
    return any((attack, None) in record.curves for attack in TITLES)


def _draw(panel: Axes, group: Group, attack: str, look: LineStyle) -> Line2D | None:
    """The curve of a group's runs that were attacked; None where none was."""
    curves = [record.curves[attack, None] for record in group.records if (attack, None) in record.curves]
    over_runs = spread([accuracies(one) for one in curves])
    if over_runs is None:
        return None
    if over_runs.runs == 1:
        rows = curves[0]
        clean = wilson(round(rows[0]["acc_nat"] * rows[0]["n"]), rows[0]["n"])
        low, high = ([at_0, *(row[side] for row in rows)] for at_0, side in zip(clean, ("low", "high"), strict=True))
        band(panel, over_runs.x, 100 * np.array(low), 100 * np.array(high), look.colour)
    return curve(panel, over_runs, look, group.label, scale=100)


def accuracies(cells: CurveRows) -> dict[float, float]:
    """Epsilon -> accuracy, with clean accuracy at 0."""
    return {0.0: cells[0]["acc_nat"]} | {row["epsilon"]: row["accuracy"] for row in cells}


def _label(panel: Axes, attack: str, title: str, missing: list[str]) -> None:
    """Title and ticks, and what is missing: some of the curves, or all."""
    panel.set_title(title, loc="left")
    panel.margins(x=0)
    panel.locator_params(axis="x", nbins=4)
    if not panel.get_lines():
        panel.set_xticks([])
        panel.grid(visible=False)
        say(panel, f"not measured yet:\nafdctl sweep RUN\n--attacks {attack}")
    elif missing:
        text = f"no {missing[0]}" if len(missing) == 1 else f"{len(missing)} not swept"
        panel.set_title(text, loc="right", color=GREY, fontsize=7)


def _exactness(groups: Sequence[Group]) -> list[str]:
    """How many images, what the bands are, and where results are not the best checkpoint's or not float32's."""
    found = [row for group in groups for record in group.records for row in _cells(record)]
    runs = [len(group.records) for group in groups]
    bands = ["95 % intervals (Wilson)"] if 1 in runs else []
    bands += [f"one standard deviation of up to {max(runs)} runs"] if max(runs, default=1) > 1 else []
    in_bf16 = dict.fromkeys(TITLES[row["attack"]] for row in found if precision_of(row) == "bf16")
    searched = f"searched in bf16: {', '.join(in_bf16)}" if in_bf16 else ""
    return [format_n(row["n"] for row in found), f"bands: {', or '.join(bands)}", checkpoints(groups, _cells), searched]


def _cells(record: Record) -> CurveRows:
    """The cells of all panels."""
    return [row for attack in TITLES for row in record.curves.get((attack, None), ())]
