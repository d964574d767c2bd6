"""Runs as rows of a table: several seeds of one recipe are one row, in the paper's order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from afdctl import registry
from afdctl.export.grouping import METHODS, by_recipe, label, method_place
from afdctl.export.tables import beside
from afdctl.export.tables.measured import Measured
from afdctl.export.tables.missing import Need
from afdctl.export.tables.table import Cell, Value
from afdctl.export.tables.trained import training
from afdctl.store.record import Record

DATASETS = ("mnist", "cifar10", "cifar100", "tiny_imagenet")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only; none: a row of the paper that no run was given for.

    `label` is the method, with a run's name where several recipes have the same one; `needs` make the row of the paper.
    """

    dataset: str
    method: str
    label: str
    records: tuple[Record, ...] = ()
    needs: tuple[Need, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(record.name for record in self.records)

    def cell(
        self, measure: Callable[[Record], Measured | None], need: Callable[[Record], Need | None], published: Value
    ) -> Cell:
        """The figure of each run, and what the runs need that have none."""
        if not self.records:
            return Cell(needs=self.needs, published=published)
        measured = [(record, measure(record)) for record in self.records]
        needs = [need(record) for record, figure in measured if figure is None]
        return Cell.of((figure for _, figure in measured if figure), filter(None, needs), published)


def grouped(records: Sequence[Record], beside_paper: str = "") -> list[Group]:
    """The rows of these runs, and where a table stands beside the paper's, of methods that a data set has no run of."""
    together = by_recipe(records)
    kinds = [(runs[0].dataset, runs[0].method) for runs in together]
    groups = [
        Group(*kind, label(runs, alone=kinds.count(kind) == 1), runs)
        for kind, runs in zip(kinds, together, strict=True)
    ]
    absent = [
        Group(
            dataset, method, method, needs=tuple(filter(None, [_row_of_paper(dataset, method, beside_paper, records)]))
        )
        for dataset in dict.fromkeys(record.dataset for record in records)
        if dataset in DATASETS
        for method in METHODS
        if beside_paper and (dataset, method) not in kinds
    ]
    return sorted([*groups, *absent], key=_place)


def _row_of_paper(dataset: str, method: str, table: str, records: Sequence[Record]) -> Need | None:
    """The table with a run of the method that nobody named, or the training of one."""
    others = [one for one in beside.unnamed(records) if (one.dataset, one.method) == (dataset, method)]
    return beside.naming(others[0], records, table, with_paper=True) if others else training(dataset, method)


def _place(group: Group) -> tuple[int, tuple[bool, int]]:
    datasets = list(dict.fromkeys([*DATASETS, *registry.DATASETS]))
    return datasets.index(group.dataset), method_place(group.label)
