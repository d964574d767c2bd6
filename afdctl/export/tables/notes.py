"""Notes below a table: how exact its numbers are, and which of them cannot be compared."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from afdctl.export.groups import Group, dataset_title
from afdctl.export.tables import paper
from afdctl.export.tables.base import Column, Kind, Measured, Row
from afdctl.formatting import format_epsilon
from afdctl.runs.record import Record
from afdctl.runs.summary import training_progress


class Entry(NamedTuple):
    """A measurement of one run with its data set, row label and column title."""

    dataset: str
    row: str
    column: str
    measured: Measured


def of_measurements(columns: Sequence[Column], rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    """Notes of every table of measurements; row i is of group i."""
    entries = [
        Entry(group.dataset, group.label, column.title, one)
        for group, row in zip(groups, rows, strict=True)
        for column in columns
        for one in row.cells[column.key].measured
    ]
    if entries:
        yield _sample_size(entries, columns[0].kind)
        yield from _conditions(entries)
    incomplete = [
        f"{column.title} of {_row_name(group)}"
        for group, row in zip(groups, rows, strict=True)
        for column in columns
        if 0 < len(row.cells[column.key].measured) < len(group.records)
    ]
    if incomplete:
        yield f"Over fewer runs than the row has: {', '.join(incomplete)}."
    yield from of_groups(groups)


def of_groups(groups: Iterable[Group]) -> Iterator[str]:
    """Runs averaged over seeds, and runs whose training is not finished."""
    several = [group for group in groups if len(group.records) > 1]
    if several:
        yield "Mean ± sample standard deviation over runs of one recipe: " + "; ".join(map(_seeds, several)) + "."
    for record in (record for group in groups for record in group.records):
        if progress := training_progress(record):
            yield f"{record.name} {progress}."
        for warning in record.shown_warnings:
            yield f"Warning on {record.name}: {warning}."


def without_autoattack(rows: Sequence[Row], groups: Sequence[Group], aa: str | None = None) -> Iterator[str]:
    """Rows measured without AutoAttack; `aa` is its column, None for a table without one."""
    attacked = [
        (_row_name(group), row)
        for group, row in zip(groups, rows, strict=True)
        if any(cell.measured for cell in row.cells.values())
    ]
    lacking = [name for name, row in attacked if aa is None or row.cells[aa].value is None]
    if lacking:
        where = "" if len(lacking) == len(attacked) else f" for {', '.join(lacking)}"
        yield f"No AutoAttack{where}: the other attacks overestimate robust accuracy."


def epsilons_by_dataset(groups: Iterable[Group], records: Sequence[Record]) -> str:
    """Nominal L-infinity epsilon of each data set: `MNIST 0.3; CIFAR-10 8/255`."""
    datasets = dict.fromkeys(group.dataset for group in groups)
    return "; ".join(f"{dataset_title(dataset)} {format_epsilon(paper.linf(dataset, records))}" for dataset in datasets)


def sources(rows: Iterable[Row]) -> str:
    """Names of the runs that black-box images were made against."""
    measured = [one for row in rows for cell in row.cells.values() for one in cell.measured]
    return ", ".join(dict.fromkeys(one.source for one in measured if one.source))


def _row_name(group: Group) -> str:
    return f"{dataset_title(group.dataset)} {group.label}"


def _sample_size(entries: Sequence[Entry], kind: Kind) -> str:
    """Number of test images, and the widest interval."""
    n = f"Test images: {_summarize(entries, lambda one: one.n)}."
    if all(entry.measured.interval is None for entry in entries):
        return n
    widest = max(entry.measured.margin for entry in entries)
    accuracies = "the accuracies below the areas" if kind == "area" else "one run's accuracies"
    return f"{n} 95 % intervals (Wilson) of {accuracies}: at most {100 * widest:.1f} points either way."


def _conditions(entries: Sequence[Entry]) -> Iterator[str]:
    """Checkpoint, seed, precision and settings, where they differ or are not the usual ones."""
    if checkpoint := _summarize(entries, lambda one: one.checkpoint):
        yield f"Checkpoint: {checkpoint}."
    seeds = _summarize(entries, lambda one: one.seed)
    if seeds not in ("", "0"):
        yield f"Seed of the attacks: {seeds}."
    precision = _summarize(entries, lambda one: one.precision)
    if precision not in ("", "float32"):
        yield f"Precision of the search: {precision}. Verified in float32; a search in float32 may find more."
    departing: dict[tuple[str, str, str], dict[str, None]] = {}
    for entry in entries:
        if entry.measured.departs:
            departing.setdefault((entry.column, entry.dataset, entry.measured.departs), {})[entry.row] = None
    if departing:
        texts = (
            f"{column} of {dataset_title(dataset)} {', '.join(rows)}: {settings}"
            for (column, dataset, settings), rows in departing.items()
        )
        yield f"Not as in Table A2 (its value in brackets): {'; '.join(texts)}."


def _summarize(entries: Sequence[Entry], field: Callable[[Measured], object]) -> str:
    """The value all share, or the usual one of each data set: `MNIST 1,000 (but TRADES 500), digits 360`."""
    known = [entry for entry in entries if field(entry.measured) is not None]
    if len({field(entry.measured) for entry in known}) < 2:
        return _text(field(known[0].measured)) if known else ""
    parts = []
    for dataset in dict.fromkeys(entry.dataset for entry in known):
        here = [entry for entry in known if entry.dataset == dataset]
        (usual, _), *others = Counter(field(entry.measured) for entry in here).most_common()
        exceptions = "; ".join(
            f"{', '.join(_places([entry for entry in here if field(entry.measured) == other], here))} {_text(other)}"
            for other, _ in others
        )
        parts.append(f"{dataset_title(dataset)} {_text(usual)}" + (f" (but {exceptions})" if exceptions else ""))
    return ", ".join(parts)


def _places(some: Sequence[Entry], entries: Sequence[Entry]) -> list[str]:
    """Rows of some entries, each with its columns where only a part of the row is meant."""
    places = []
    for row in dict.fromkeys(entry.row for entry in some):
        columns = dict.fromkeys(entry.column for entry in some if entry.row == row)
        whole = len(columns) == len({entry.column for entry in entries if entry.row == row})
        places.append(row if whole else f"{row} in {' and '.join(columns)}")
    return places


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _seeds(group: Group) -> str:
    seeds = [record.seed for record in group.records]
    repeated = "" if len(set(seeds)) == len(seeds) else ", some of them twice: they are not independent"
    listed = ", ".join(map(str, sorted(seeds)))
    return f"{_row_name(group)} {len(seeds)} runs (seeds {listed}{repeated})"
