"""Medians over test images with their deviation: sensitivity (Figure A4); feature norms, logit scales, margins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from afdctl import registry
from afdctl.export.figures.page import Page, among, checkpoints_of, datasets, figures
from afdctl.export.figures.robustness import TITLES
from afdctl.export.figures.style import WIDTH, Look, curve, looks, spread, styled
from afdctl.export.groups import Group, dataset_title, plot_groups
from afdctl.store.record import Record

Summary = Mapping[str, Any]
"""Of one quantity over the epsilons of an analysis: `median` and `std` over the test images."""
NORMS: Final[Mapping[str, str]] = {
    "feature_norm": "Feature norm", "logit_scale": "Logit scale", "margin": "Margin",
}  # fmt: skip


@styled
def sensitivity(records: Sequence[Record]) -> Page:
    """Figure A4: ||F(x) - F(x')||_2 / ||F(x)||_2, median and deviation over the test images; one panel a data set."""
    shown = [name for name in registry.DATASETS if any(name == record.dataset for record in records)]
    by_dataset = [_having((one for one in records if one.dataset == name), "sensitivity") for name in shown]
    groups = [group for of_dataset in by_dataset for group in of_dataset]
    page = Page(f"Feature sensitivity on {datasets(groups)}", records, WIDTH if len(shown) > 1 else 3.4, 2.2)
    panels = page.subplots(1, len(shown), squeeze=False)[0]
    lines: dict[str, Line2D] = {}
    for panel, name, of_dataset in zip(panels, shown, by_dataset, strict=True):
        styles = looks(of_dataset)
        panel.set_title(dataset_title(name), loc="left")
        for group in of_dataset:
            lines |= _draw(panel, group, "sensitivity", lambda found: found, styles[group.label])
        _label(panel, ticks=5 - len(shown) // 2)
        # at epsilon 0 nothing moves
        panel.set(xlim=(0, None), ylim=(0, None))
    panels[0].set_ylabel("Feature sensitivity")
    page.legend_above(lines, columns=5 if len(shown) > 1 else 3)
    page.caption("‖F(x) − F(x′)‖ / ‖F(x)‖", *_about(groups, "sensitivity"))
    return page


@styled
def norms(records: Sequence[Record]) -> Page:
    """Feature norms, logit scales and margins over epsilon, natural images at 0 and as a dotted line."""
    groups = _having(records, "norms")
    styles, lines = looks(groups), dict[str, Line2D]()
    page = Page(f"Feature norms, logit scales and margins on {datasets(groups)}", records, WIDTH, 2.2)
    for panel, (quantity, title) in zip(page.subplots(1, len(NORMS)), NORMS.items(), strict=True):
        panel.set_title(title, loc="left")
        for group in groups:
            drawn = _draw(panel, group, "norms", itemgetter(quantity), styles[group.label])
            lines |= drawn
            for line in drawn.values():
                natural = np.asarray(line.get_ydata())[0]
                panel.axhline(natural, color=line.get_color(), linestyle=":", linewidth=0.7, zorder=1)
        _label(panel)
    page.legend_above(lines)
    page.caption(*_about(groups, "norms"), "dotted: natural images", "norms before normalisation")
    return page


def _having(records: Iterable[Record], analysis: str) -> list[Group]:
    return plot_groups(record for record in records if analysis in record.analyses)


def _draw(
    panel: Axes, group: Group, analysis: str, of: Callable[[dict[str, Any]], Summary], look: Look
) -> dict[str, Line2D]:
    """The median of a group's runs over epsilon; bars are the deviation over images, a band is that over runs.

    Nothing is drawn of runs that were analysed on grids without a common epsilon.
    """
    found = [figures(record, analysis) for record in group.records]
    medians = spread([dict(zip(one["epsilons"], of(one)["median"], strict=True)) for one in found])
    deviations = spread([dict(zip(one["epsilons"], of(one)["std"], strict=True)) for one in found])
    if medians is None or deviations is None:
        return {}
    panel.errorbar(
        medians.x, medians.mean, deviations.mean, fmt="none", ecolor=look.colour, elinewidth=0.6, capsize=1.5,
        capthick=0.6, alpha=0.6,
    )  # fmt: skip
    return {group.label: curve(panel, medians, look, group.label)}


def _label(panel: Axes, ticks: int = 5) -> None:
    panel.set_xlabel("Epsilon")
    panel.locator_params(axis="x", nbins=ticks)


def _about(groups: Sequence[Group], analysis: str) -> list[str]:
    """The attack, how many images, and what bars and bands are."""
    rows = [record.analyses[analysis] for group in groups for record in group.records]
    attacks = dict.fromkeys(TITLES.get(row["figures"]["attack"], row["figures"]["attack"]) for row in rows)
    several = max(len(group.records) for group in groups)
    bands = f"bands: one standard deviation of up to {several} runs" if several > 1 else ""
    return [
        f"{datasets(groups)} test split",
        ", ".join(attacks),
        f"median of {among(row['n'] for row in rows)}, bars: one deviation",
        bands,
        checkpoints_of(groups, analysis),
    ]
