"""Runs as the curves of a figure: seeds of one recipe are one curve, their mean and deviation."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from afdctl.store.record import Record

Array = np.ndarray[Any, Any]
METHODS: Final = ("NT", "AT", "TRADES", "Matching", "AFD-DCGAN", "AFD-HINGE", "AFD-WGAN")
"""The paper's order, in legends and in rows."""
DATASETS: Final[Mapping[str, str]] = {
    "digits": "digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100", "tiny_imagenet": "Tiny-ImageNet", "folder": "own images",
}  # fmt: skip


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
    by_recipe: dict[str, list[Record]] = {}
    for record in records:
        by_recipe.setdefault(record.group, []).append(record)
    ordered = sorted(by_recipe.values(), key=lambda runs: _rank(runs[0].method))
    times = Counter(runs[0].method for runs in ordered)
    return [_group(runs, named=times[runs[0].method] > 1) for runs in ordered]


def _rank(method: str) -> int:
    return METHODS.index(method) if method in METHODS else len(METHODS)


def _group(runs: Sequence[Record], named: bool) -> Group:
    first = runs[0]
    label = f"{first.method} ({first.name})" if named and first.method != first.name else first.method
    return Group(label, first.method, first.dataset, tuple(runs))


def spread(curves: Sequence[Mapping[float, float]]) -> Spread | None:
    """Mean and deviation of curves (x -> y) at every x that all of them have; None where there is no curve."""
    if not curves:
        return None
    x = sorted(set.intersection(*map(set, curves)))
    values = np.array([[curve[at] for at in x] for curve in curves], dtype=float)
    deviation = values.std(axis=0, ddof=1) if len(curves) > 1 else None
    return Spread(np.array(x), values.mean(axis=0), deviation, len(curves))


def datasets(groups: Iterable[Group]) -> str:
    """Their data sets as people write them."""
    return names_of(group.dataset for group in groups)


def names_of(keys: Iterable[str]) -> str:
    """Data sets as people write them, each once, in the table's order."""
    given = set(keys)
    return ", ".join(name for key, name in DATASETS.items() if key in given)
