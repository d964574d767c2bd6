"""Runs as the curves of a figure: seeds of one recipe are one curve, their mean and deviation."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from afdctl import registry
from afdctl.events import Row
from afdctl.export.grouping import by_recipe, label, method_place
from afdctl.export.tables.measured import checkpoint_of
from afdctl.export.tables.names import dataset_title
from afdctl.formatting import printable
from afdctl.store.record import Record
from afdctl.sweep.figures import Array


@dataclass(frozen=True)
class Group:
    """Runs of one recipe; `label` tells it from the other groups of its figure."""

    label: str
    method: str
    dataset: str
    records: tuple[Record, ...]


class Spread(NamedTuple):
    """A curve over several runs: x, mean and sample standard deviation (k,); one run has no deviation."""

    x: Array
    mean: Array
    deviation: Array | None
    runs: int


def grouped(records: Iterable[Record]) -> list[Group]:
    """The groups in the paper's order of methods; where two have the same method, the label names the run too."""
    ordered = sorted(by_recipe(records), key=lambda runs: method_place(runs[0].method))
    times = Counter(runs[0].method for runs in ordered)
    return [
        Group(_plain(label(runs, alone=times[runs[0].method] == 1)), runs[0].method, runs[0].dataset, runs)
        for runs in ordered
    ]


def _plain(text: str) -> str:
    """The text as matplotlib draws it letter by letter: a run's name is neither a formula nor a control sequence."""
    return printable(text).replace("$", r"\$")


def spread(curves: Sequence[Mapping[float, float]]) -> Spread | None:
    """Mean and deviation of curves (x -> y) at every x that all of them have; None where there is none."""
    x = sorted(set.intersection(*map(set, curves))) if curves else []
    if not x:
        return None
    values = np.array([[curve[at] for at in x] for curve in curves], dtype=float)
    deviation = values.std(axis=0, ddof=1) if len(curves) > 1 else None
    return Spread(np.array(x), values.mean(axis=0), deviation, len(curves))


def checkpoints(groups: Iterable[Group], rows: Callable[[Record], Iterable[Row]]) -> str:
    """Whose results are drawn, of the `rows` of each run: `checkpoints: best (NT), last (AT)`; empty if all are best's.

    A model of one's own has but one, which goes without saying.
    """
    labels: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.records:
            for name in dict.fromkeys(checkpoint_of(record, row) for row in rows(record)):
                if name is not None:
                    labels.setdefault(name, {})[group.label] = None
    if len(labels) > 1:
        return "checkpoints: " + ", ".join(f"{name} ({', '.join(of)})" for name, of in labels.items())
    return "".join(f"checkpoint: {name}" for name in labels if name != "best")


def checkpoints_of(groups: Iterable[Group], analysis: str) -> str:
    """Those of an analysis that all runs have."""
    return checkpoints(groups, lambda record: [record.analyses[analysis]])


def datasets(groups: Iterable[Group]) -> str:
    """Their data sets as people write them."""
    return names_of(group.dataset for group in groups)


def names_of(keys: Iterable[str]) -> str:
    """Data sets as people write them, each once, in the registry's order."""
    given = set(keys)
    return ", ".join(dataset_title(dataset) for dataset in registry.DATASETS if dataset in given)
