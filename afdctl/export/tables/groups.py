"""Runs as rows of a table: several seeds of one recipe are one row, in the paper's order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from afdctl import registry
from afdctl.export.grouping import by_recipe, label, method_place
from afdctl.export.tables.measured import Measured
from afdctl.export.tables.missing import Need
from afdctl.export.tables.table import Cell, Value
from afdctl.export.tables.trained import training
from afdctl.store.record import Record

DATASETS = ("mnist", "cifar10", "cifar100", "tiny_imagenet")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only; none: a row of the paper that no run was given for.

    `label` is the method, with a run's name where several recipes have the same one.
    """

    dataset: str
    method: str
    label: str
    records: tuple[Record, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(record.name for record in self.records)

    def cell(
        self, measure: Callable[[Record], Measured | None], need: Callable[[Record], Need | None], published: Value
    ) -> Cell:
        """The figure of each run, and what the runs need that have none."""
        if not self.records:
            return Cell(needs=(training(self.dataset, self.method),), published=published)
        measured = [(record, measure(record)) for record in self.records]
        needs = [need(record) for record, figure in measured if figure is None]
        return Cell.of((figure for _, figure in measured if figure), filter(None, needs), published)


def grouped(records: Sequence[Record], methods: Iterable[str] = ()) -> list[Group]:
    """The rows of these runs, and of those `methods` that a data set in the paper has no run of."""
    together = by_recipe(records)
    kinds = [(runs[0].dataset, runs[0].method) for runs in together]
    groups = [
        Group(*kind, label(runs, alone=kinds.count(kind) == 1), runs)
        for kind, runs in zip(kinds, together, strict=True)
    ]
    absent = [
        Group(dataset, method, method)
        for dataset in dict.fromkeys(record.dataset for record in records)
        if dataset in DATASETS
        for method in methods
        if (dataset, method) not in kinds
    ]
    return sorted([*groups, *absent], key=_place)


def _place(group: Group) -> tuple[int, tuple[bool, int]]:
    datasets = list(dict.fromkeys([*DATASETS, *registry.DATASETS]))
    return datasets.index(group.dataset), method_place(group.label)
