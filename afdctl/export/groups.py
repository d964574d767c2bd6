"""Runs grouped by recipe: seeds of one recipe are one row of a table and one curve of a figure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from afdctl import registry
from afdctl.formatting import printable
from afdctl.runs.record import Record

# the paper's methods and data sets, in its order
METHODS: Final = ("NT", "AT", "TRADES", "AFD-DCGAN", "AFD-WGAN")
DATASETS: Final = ("mnist", "cifar10", "cifar100", "tiny_imagenet")
DATASET_TITLES: Final = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny-ImageNet",
}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only; no records: a row of the paper without a run.

    `label` is the method, followed by the first run's name where several recipes have the same method.
    """

    dataset: str
    method: str
    label: str
    records: tuple[Record, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(record.name for record in self.records)


def grouped(records: Iterable[Record], *, distinct_labels: bool = False) -> list[Group]:
    """Group the runs by recipe, in the paper's order of data sets and methods.

    Labels are distinct within a data set; with `distinct_labels` among all groups.
    """
    by_recipe: dict[str, list[Record]] = {}
    for record in records:
        by_recipe.setdefault(record.group, []).append(record)
    keys = [("" if distinct_labels else runs[0].dataset, runs[0].method) for runs in by_recipe.values()]
    count = Counter(keys)
    groups = [
        Group(runs[0].dataset, runs[0].method, _label(runs[0], alone=count[key] == 1), tuple(runs))
        for key, runs in zip(keys, by_recipe.values(), strict=True)
    ]
    return sorted(groups, key=_rank)


def plot_groups(records: Iterable[Record]) -> list[Group]:
    """Group the runs with distinct labels that matplotlib draws literally, `$` and control characters included."""
    groups = grouped(records, distinct_labels=True)
    return [replace(group, label=printable(group.label).replace("$", r"\$")) for group in groups]


def with_absent_methods(groups: list[Group]) -> list[Group]:
    """Add an empty group for each method of the paper that one of its data sets has no run of."""
    present = {(group.dataset, group.method) for group in groups}
    absent = [
        Group(dataset, method, method)
        for dataset in dict.fromkeys(group.dataset for group in groups)
        if dataset in DATASETS
        for method in METHODS
        if (dataset, method) not in present
    ]
    return sorted([*groups, *absent], key=_rank)


def method_rank(label: str) -> tuple[bool, int]:
    """Sort key of a label: the paper's methods in its order, custom models last."""
    known = [*METHODS, "AFD-HINGE", "Matching"]
    method = label.partition(" ")[0]
    return method not in known, known.index(method) if method in known else 0


def dataset_title(dataset: str) -> str:
    """Name of a data set for people."""
    return DATASET_TITLES.get(dataset, dataset)


def dataset_titles(datasets: Iterable[str]) -> str:
    """Titles of the distinct data sets, in the registry's order."""
    present = set(datasets)
    return ", ".join(dataset_title(dataset) for dataset in registry.DATASETS if dataset in present)


def _label(record: Record, *, alone: bool) -> str:
    return record.method if alone or record.method == record.name else f"{record.method} ({record.name})"


def _rank(group: Group) -> tuple[int, tuple[bool, int]]:
    datasets = list(dict.fromkeys([*DATASETS, *registry.DATASETS]))
    return datasets.index(group.dataset), method_rank(group.label)
