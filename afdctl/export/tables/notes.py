"""Notes below a table: how precise its numbers are, and which of them cannot be compared."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from afdctl.export.groups import Group, dataset_title, has_seeds
from afdctl.export.tables import paper
from afdctl.export.tables.base import Column, Kind, Row
from afdctl.export.tables.paper import Measurement
from afdctl.formatting import format_epsilon
from afdctl.runs.record import Record
from afdctl.runs.summary import training_progress


class Entry(NamedTuple):
    """A measurement of one run with its data set, row label and column title."""

    dataset: str
    row: str
    column: str
    measurement: Measurement


def of_measurements(columns: Sequence[Column], rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    """Yield the notes that every table of measurements has; row i is of group i."""
    entries = [
        Entry(group.dataset, group.label, column.title, measurement)
        for group, row in zip(groups, rows, strict=True)
        for column in columns
        for measurement in row.cells[column.key].measurements
    ]
    if entries:
        # all columns of a table with measurements are of one kind
        yield _sample_size(entries, columns[0].kind)
        yield from _conditions(entries)
    incomplete = [
        f"{column.title} of {_row_name(group)}"
        for group, row in zip(groups, rows, strict=True)
        for column in columns
        if 0 < len(row.cells[column.key].measurements) < len(group.records)
    ]
    if incomplete:
        yield f"Averaged over only some of the row's runs: {', '.join(incomplete)}."
    for record in (record for group in groups for record in group.records):
        for name in record.other_curves | record.other_analyses:
            yield f"{record.name} has results of its checkpoint {name} too; --checkpoint {name} shows them."
    yield from of_groups(groups)


def of_groups(groups: Iterable[Group]) -> Iterator[str]:
    """Yield notes on groups of several seeds, unfinished trainings, and warnings."""
    several = [group for group in groups if has_seeds(group.records)]
    if several:
        yield "Mean ± sample standard deviation over seeds: " + "; ".join(map(_seeds, several)) + "."
    repeated = [group for group in groups if len(group.records) > 1 and group not in several]
    if repeated:
        names = "; ".join(f"{_row_name(group)} {len(group.records)} runs" for group in repeated)
        yield f"Mean without ±, because the runs have the same seed and are not independent: {names}."
    for record in (record for group in groups for record in group.records):
        if progress := training_progress(record):
            yield f"{record.name} {progress}."
        for warning in record.shown_warnings:
            yield f"Warning on {record.name}: {warning}."


def without_autoattack(rows: Sequence[Row], groups: Sequence[Group], aa: str | None = None) -> Iterator[str]:
    """Yield a note on rows without AutoAttack; `aa` is its column, None for a table without one."""
    # a row without any measurement makes no claim
    attacked = [
        (_row_name(group), row)
        for group, row in zip(groups, rows, strict=True)
        if any(cell.measurements for cell in row.cells.values())
    ]
    without = [name for name, row in attacked if aa is None or row.cells[aa].value is None]
    if without:
        where = "" if len(without) == len(attacked) else f" for {', '.join(without)}"
        yield f"No AutoAttack{where}. The other attacks may overestimate robust accuracy."


def epsilons_by_dataset(groups: Iterable[Group], records: Sequence[Record]) -> str:
    """Format the nominal L-infinity epsilon of each data set: `MNIST 0.3; CIFAR-10 8/255`."""
    datasets = dict.fromkeys(group.dataset for group in groups)
    return "; ".join(
        f"{dataset_title(dataset)} {format_epsilon(paper.linf_epsilon(dataset, records))}" for dataset in datasets
    )


def sources(rows: Iterable[Row]) -> str:
    """Join the names of the runs that black-box images were made against."""
    measurements = [measurement for row in rows for cell in row.cells.values() for measurement in cell.measurements]
    return ", ".join(dict.fromkeys(measurement.source for measurement in measurements if measurement.source))


def _row_name(group: Group) -> str:
    return f"{dataset_title(group.dataset)} {group.label}"


def _sample_size(entries: Sequence[Entry], kind: Kind) -> str:
    """Format the number of test images, and the widest interval."""
    n = f"Test images: {_summarize(entries, lambda measurement: measurement.images)}."
    if all(entry.measurement.interval is None for entry in entries):
        return n
    # one line for the table: an interval beside each value would hide the values
    widest = max(entry.measurement.margin for entry in entries)
    accuracies = "the accuracies behind the areas" if kind == "area" else "the accuracies of single runs"
    return f"{n} Wilson 95 % intervals of {accuracies}: at most ±{100 * widest:.1f} percentage points."


def _conditions(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the checkpoint, and seed, precision and settings where they are not the default ones."""
    if checkpoint := _summarize(entries, lambda measurement: measurement.checkpoint):
        yield f"Checkpoint: {checkpoint}."
    # the defaults, seed 0 and float32, need no words
    seeds = _summarize(entries, lambda measurement: measurement.seed)
    if seeds not in ("", "0"):
        yield f"Attack seed: {seeds}."
    precision = _summarize(entries, lambda measurement: measurement.precision)
    if precision not in ("", "float32"):
        yield (
            f"Precision of the attack's search: {precision}. Results are verified in float32, but a search in float32 "
            f"may find more adversarial images."
        )
    differing: dict[tuple[str, str, str], dict[str, None]] = {}
    for entry in entries:
        if entry.measurement.differing:
            differing.setdefault((entry.column, entry.dataset, entry.measurement.differing), {})[entry.row] = None
    if differing:
        texts = (
            f"{column} of {dataset_title(dataset)} {', '.join(rows)}: {settings}"
            for (column, dataset, settings), rows in differing.items()
        )
        yield f"Settings that differ from Table A2 (its value in parentheses): {'; '.join(texts)}."


def _summarize(entries: Sequence[Entry], field: Callable[[Measurement], object]) -> str:
    """Format the common value, or each data set's most common one: `MNIST 1,000 (except TRADES 500), digits 360`."""
    valued = [(entry, field(entry.measurement)) for entry in entries if field(entry.measurement) is not None]
    if len({value for _, value in valued}) < 2:
        return _text(valued[0][1]) if valued else ""
    parts = []
    for dataset in dict.fromkeys(entry.dataset for entry, _ in valued):
        by_value: dict[object, list[Entry]] = {}
        for entry, value in valued:
            if entry.dataset == dataset:
                by_value.setdefault(value, []).append(entry)
        # the most common value once, so that only exceptions are named
        most_common, *others = sorted(by_value, key=lambda value: -len(by_value[value]))
        dataset_entries = [entry for subset in by_value.values() for entry in subset]
        exceptions = [f"{', '.join(_cell_names(by_value[other], dataset_entries))} {_text(other)}" for other in others]
        text = f"{dataset_title(dataset)} {_text(most_common)}"
        parts.append(f"{text} (except {'; '.join(exceptions)})" if exceptions else text)
    return ", ".join(parts)


def _cell_names(subset: Sequence[Entry], entries: Sequence[Entry]) -> list[str]:
    """Name the rows of a subset, each with its columns where the subset has only some of the row's entries."""
    names = []
    for row in dict.fromkeys(entry.row for entry in subset):
        columns = dict.fromkeys(entry.column for entry in subset if entry.row == row)
        is_whole = len(columns) == len({entry.column for entry in entries if entry.row == row})
        names.append(row if is_whole else f"{row} in {' and '.join(columns)}")
    return names


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _seeds(group: Group) -> str:
    seeds = [record.seed for record in group.records]
    repeated = "" if len(set(seeds)) == len(seeds) else "; runs with the same seed are not independent"
    listed = ", ".join(map(str, sorted(seeds)))
    return f"{_row_name(group)} {len(seeds)} runs (seeds {listed}{repeated})"
