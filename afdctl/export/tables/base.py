"""What every table is built from: measurements of runs, and rows of cells before any format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final, Literal

from afdctl.export.groups import Gap, Group, commands, training_gap
from afdctl.export.tables.paper import table_a2
from afdctl.journal import Row as Event
from afdctl.runs.curves import Interval, RobustnessCurve, accuracy_interval, auc
from afdctl.runs.record import Record
from afdctl.runs.selection import checkpoint_names

# what a column holds: shares and areas are in [0, 1]; text formats print shares in percent
Kind = Literal["share", "area", "count", "seconds", "ratio", "text"]
Value = float | str | None
# keys of an attack's settings that do not change what is measured
IGNORED_SETTINGS: Final = {
    "label",
    "datasets",
    "epsilons",
    "schedule",
    "early_stop",
    "batch_size",
    "device",
    "library",
}


@dataclass(frozen=True)
class Measurement:
    """A metric of one run.

    `n` counts test images. `interval` is Wilson's at 95 %, of an area the widest below it. `seed` is the attack's,
    `checkpoint` best, last or the start of a digest, `precision` that of the attack's search. `differing` lists
    settings that differ from Table A2.
    """

    value: float
    n: int | None = None
    interval: Interval | None = None
    seed: int | None = None
    checkpoint: str | None = None
    differing: str = ""
    epsilon: float | None = None
    source: str | None = None
    precision: str | None = None

    @property
    def margin(self) -> float:
        """Largest distance from the value to an end of its interval."""
        return self.interval.margin(self.value) if self.interval else 0.0


def clean_accuracy(record: Record) -> Measurement | None:
    """Return accuracy on natural test images, from a cell or from the test at the end of the training."""
    row = record.clean()
    if row is None:
        return None
    accuracy, n = row["acc_nat"], row["n"]
    interval = accuracy_interval(accuracy, n)
    return Measurement(accuracy, n=n, interval=interval, checkpoint=checkpoint_of(record, row))


def accuracy_at(record: Record, curve: RobustnessCurve, epsilon: float) -> Measurement | None:
    """Return accuracy at the curve's grid point nearest to `epsilon`, if one is within 5 % of it."""
    row = min(curve.cells, key=lambda cell: abs(cell["epsilon"] - epsilon))
    if abs(row["epsilon"] - epsilon) > 0.05 * epsilon:
        return None
    return Measurement(
        row["accuracy"],
        n=row["n"],
        interval=Interval(row["low"], row["high"]),
        seed=row["seed"],
        checkpoint=checkpoint_of(record, row),
        differing=differing_settings(row, record.dataset),
        epsilon=row["epsilon"],
        source=row["source"],
        precision=row["precision"],
    )


def area_under_curve(record: Record, curve: RobustnessCurve) -> Measurement:
    """Return the paper's area under the curve, over Table A2's grid where the curve has all of it."""
    settings = table_a2(record.dataset).get(curve.attack)
    grid = settings.epsilons if settings else ()
    exact = {epsilon: row for row in curve.cells for epsilon in grid if abs(row["epsilon"] - epsilon) < 1e-9}
    complete = grid and set(grid[1:]) <= set(exact)
    rows: Sequence[Event] = [exact[epsilon] for epsilon in grid[1:]] if complete else curve.cells
    epsilons = [0.0, *(row["epsilon"] for row in rows)]
    accuracies = [rows[0]["acc_nat"], *(row["accuracy"] for row in rows)]
    value = auc(epsilons, accuracies)
    widest = max(Interval(row["low"], row["high"]).margin(row["accuracy"]) for row in rows)
    first = rows[0]
    differing = differing_settings(first, record.dataset)
    if rows is curve.cells:
        differing = ", ".join(filter(None, [differing, f"grid {' '.join(f'{epsilon:.4g}' for epsilon in epsilons)}"]))
    return Measurement(
        value,
        n=first["n"],
        interval=Interval(value - widest, value + widest),
        seed=first["seed"],
        checkpoint=checkpoint_of(record, first),
        differing=differing,
        precision=curve.precision,
    )


def checkpoint_of(record: Record, row: Event) -> str | None:
    """Return `best` or `last` for a checkpoint that the run still calls so, else the start of its digest."""
    digest: str = row["checkpoint"]
    if record.recipe is None:
        return None
    return digest if digest in ("best", "last") else checkpoint_names(record.rows).get(digest, digest[:8])


def differing_settings(row: Event, dataset: str) -> str:
    """List an attack's settings that differ from Table A2: `steps 100 (40)`."""
    settings = table_a2(dataset).get(row["attack"])
    if settings is None:
        return ""
    published = settings.model_dump(mode="json")
    keys = [key for key, value in row["spec"].items() if key not in IGNORED_SETTINGS and published.get(key) != value]
    return ", ".join(f"{key} {_setting_text(row['spec'][key])} ({_setting_text(published.get(key))})" for key in keys)


def _setting_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    def mean_of(cls, measurements: Iterable[Measurement], gaps: Iterable[Gap] = (), published: Value = None) -> "Cell":
        """Average one measurement per run, with the sample standard deviation of two or more."""
        measurements = tuple(measurements)
        values = [measurement.value for measurement in measurements]
        return cls(
            value=fmean(values) if values else None,
            std=stdev(values) if len(values) > 1 else None,
            measurements=measurements,
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
        results = [(record, measure(record)) for record in group.records]
        gaps = [missing(record) for record, measurement in results if measurement is None]
        return cls.mean_of((measurement for _, measurement in results if measurement), filter(None, gaps), published)

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
