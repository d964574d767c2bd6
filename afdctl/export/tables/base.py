"""A table of the paper: its cells, columns and rows before any format, and its builder by name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import fmean, stdev
from typing import Final, Literal, cast

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.groups import Gap, Group, commands, has_seeds, training_gap
from afdctl.export.tables.paper import Measurement
from afdctl.formatting import did_you_mean
from afdctl.runs.record import Record

# what a column holds: shares and areas are in [0, 1]; text formats print shares in percent
Kind = Literal["share", "area", "count", "seconds", "ratio", "text"]
Value = float | str | None
# table -> module and function that builds it
BUILDERS: Final[Mapping[str, str]] = {
    "1": "attack_tables:table_1",
    "2": "attack_tables:table_2",
    "A1": "hyperparameters:table_a1",
    "A3": "attack_tables:table_a3",
    "A4": "appendix:table_a4",
    "A5": "appendix:table_a5",
    "cost": "cost:build",
}
# the runs that a table takes, where it does not take every run
REQUIRED_RUNS: Final[Mapping[str, str]] = {
    "A1": "a trained run",
    "A3": "a run of AT, TRADES or AFD",
    "A5": "a run of AFD",
    "cost": "a run trained here",
}
COMPARISON_NOTE: Final = "In parentheses: the published value, and ours minus the published one."
# tables that the paper prints for AFD without its variant
WITHOUT_VARIANT: Final = ("A3", "A4", "A5", "cost")
VARIANT_NOTE: Final = "The paper does not say which variant of AFD its values are for."


@dataclass(frozen=True)
class Cell:
    """A value with its deviation over seeds, or None; `gaps` are the missing measurements.

    A cell without value and gaps cannot be measured.
    """

    value: Value = None
    std: float | None = None
    measurements: tuple[Measurement, ...] = ()
    gaps: tuple[Gap, ...] = ()
    published: Value = None

    @classmethod
    def mean_of(
        cls, measurements: Mapping[Record, Measurement], gaps: Iterable[Gap] = (), published: Value = None
    ) -> "Cell":
        """Average one measurement per run, with the sample standard deviation of two or more seeds."""
        values = [measurement.value for measurement in measurements.values()]
        return cls(
            value=fmean(values) if values else None,
            std=stdev(values) if has_seeds(measurements) else None,
            measurements=tuple(measurements.values()),
            gaps=tuple(gaps),
            published=published,
        )

    @classmethod
    def of_group(
        cls,
        group: Group,
        measure: Callable[[Record], Measurement | None],
        missing: Callable[[Record], Gap | None],
        published: Value,
    ) -> "Cell":
        """Measure each run of a group; `missing` describes what a run lacks. A group without runs lacks a training."""
        if not group.records:
            gap = training_gap(group.dataset, group.method)
            return cls(gaps=(gap,) if gap else (), published=published)
        results = {record: measure(record) for record in group.records}
        gaps = [missing(record) for record, measurement in results.items() if measurement is None]
        measured = {record: measurement for record, measurement in results.items() if measurement}
        return cls.mean_of(measured, filter(None, gaps), published)

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if isinstance(self.value, float | int) and isinstance(self.published, float | int):
            return self.value - self.published
        return None

    @property
    def only(self) -> Measurement | None:
        """The measurement of the cell's one run."""
        return self.measurements[0] if len(self.measurements) == 1 else None


@dataclass(frozen=True)
class Column:
    """A column: `key` in machine-readable formats, `title` in printed ones."""

    key: str
    title: str
    kind: Kind


@dataclass(frozen=True)
class Row:
    """A row: `labels` under the table's `headings`, `runs` the names of the runs behind its cells."""

    labels: tuple[str, ...]
    runs: tuple[str, ...]
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """A table of the paper; `notes` say how its numbers were measured, a line each."""

    name: str
    title: str
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def numeric(self) -> list[bool]:
        """Whether each printed column holds numbers, label columns first."""
        return [*(False for _ in self.headings), *(column.kind != "text" for column in self.columns)]

    @property
    def missing(self) -> list[str]:
        """The commands that compute what the cells lack."""
        return commands(gap for row in self.rows for column in self.columns for gap in row.cells[column.key].gaps)


Build = Callable[[Sequence[Record], bool], Table]


def check_name(name: str) -> str:
    """Return the table's name as the paper writes it. Error: RecipeError with the nearest name."""
    names = {known.lower(): known for known in BUILDERS}
    if name.upper() == "A2":
        raise RecipeError("--table A2: is a suite of attacks; `afdctl suites show paper-A2` prints it")
    if name.lower() not in names:
        raise RecipeError(f"--table {name}: no such table ({did_you_mean(name, BUILDERS)})")
    return names[name.lower()]


def build_table(name: str, records: Sequence[Record], with_paper: bool) -> Table:
    """Build a table of the runs, with the published numbers if asked. Error: NotFoundError without a suitable run."""
    # imported here, because the modules that build import this one
    module, function = BUILDERS[name].split(":")
    table = cast(Build, getattr(import_module(f"afdctl.export.tables.{module}"), function))(records, with_paper)
    if not any(row.runs for row in table.rows):
        raise NotFoundError(f"--table {name}: needs {REQUIRED_RUNS.get(name, 'a run')}, and none is among those named")
    compared = any(cell.published is not None for row in table.rows for cell in row.cells.values())
    if not compared:
        return table
    variant = (VARIANT_NOTE,) if name in WITHOUT_VARIANT else ()
    return replace(table, notes=(*table.notes, COMPARISON_NOTE, *variant))
