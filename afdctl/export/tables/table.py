"""A table before it is written in any format: rows of cells, each a figure or what it takes to make it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from afdctl.export.tables.measured import Measured
from afdctl.export.tables.missing import Need, combined

Kind = Literal["share", "area", "count", "seconds", "ratio", "text"]
"""What a column holds: shares and areas are in [0, 1]; people read shares in percent."""
Value = float | str | None


@dataclass(frozen=True)
class Cell:
    """One figure with its deviation over runs of several seeds, or None; `needs` make what is missing of it.

    A cell without value and needs is one that cannot be.
    """

    value: Value = None
    std: float | None = None
    measured: tuple[Measured, ...] = ()
    needs: tuple[Need, ...] = ()
    published: Value = None

    @classmethod
    def of(cls, measured: Iterable[Measured], needs: Iterable[Need] = (), published: Value = None) -> "Cell":
        """The mean of one figure of each run, and from two runs on the sample standard deviation."""
        figures = tuple(measured)
        values = [one.value for one in figures]
        return cls(
            fmean(values) if values else None, stdev(values) if len(values) > 1 else None, figures, tuple(needs),
            published,
        )  # fmt: skip

    @property
    def difference(self) -> float | None:
        """Measured less published."""
        if isinstance(self.value, float | int) and isinstance(self.published, float | int):
            return self.value - self.published
        return None

    @property
    def only(self) -> Measured | None:
        """The figure of the cell's one run."""
        return self.measured[0] if len(self.measured) == 1 else None


@dataclass(frozen=True)
class Column:
    """`key` names it for programs, `title` for people."""

    key: str
    title: str
    kind: Kind


@dataclass(frozen=True)
class Row:
    """`labels` go with the table's `headings`; `runs` are the names of those that its figures are of."""

    labels: tuple[str, ...]
    runs: tuple[str, ...]
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """A table of the paper; `notes` are what a reader must know of its figures, a line each."""

    name: str
    title: str
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def numeric(self) -> list[bool]:
        """Of each column that is shown, the labels first, whether it holds numbers."""
        return [*(False for _ in self.headings), *(column.kind != "text" for column in self.columns)]

    @cached_property
    def commands(self) -> dict[Need, str]:
        """Need -> the command that makes it, in the order of the cells."""
        return combined(need for row in self.rows for column in self.columns for need in row.cells[column.key].needs)

    @property
    def missing(self) -> list[str]:
        """The distinct commands: number 1 is marked ¹ in the cells that it fills."""
        return list(dict.fromkeys(self.commands.values()))

    def marks(self, cell: Cell) -> list[int]:
        """The numbers of the commands that make what the cell lacks."""
        return sorted({self.missing.index(self.commands[need]) + 1 for need in cell.needs})
