"""What a reader must know of a table's figures: how exact they are, and where they cannot be compared."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from afdctl.export.tables import trained
from afdctl.export.tables.groups import Group
from afdctl.export.tables.measured import Measured
from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Column, Kind, Row
from afdctl.profile.grid import name_of


class Figure(NamedTuple):
    """A figure of one run, with the names of its row and its column."""

    dataset: str
    row: str
    column: str
    measured: Measured


def of_figures(columns: Sequence[Column], rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    """The notes that all tables of measured figures have; row i is of group i."""
    figures = [
        Figure(group.dataset, group.label, column.title, one)
        for group, row in zip(groups, rows, strict=True)
        for column in columns
        for one in row.cells[column.key].measured
    ]
    if figures:
        yield _exactness(figures, columns[0].kind)
        yield from _dependence(figures)
    yield from of_groups(groups)


def _exactness(figures: Sequence[Figure], kind: Kind) -> str:
    """How many test images there were, and the widest interval."""
    n = f"Test images: {_told(figures, lambda one: one.n)}."
    if all(figure.measured.interval is None for figure in figures):
        return n
    widest = max(figure.measured.margin for figure in figures)
    what = "the accuracies below the areas" if kind == "area" else "one run's accuracies"
    return f"{n} 95 % intervals (Wilson) of {what}: at most {100 * widest:.1f} points either way."


def _dependence(figures: Sequence[Figure]) -> Iterator[str]:
    """What else the figures depend on, where it is not the same for all or not Table A2's."""
    if checkpoint := _told(figures, lambda one: one.checkpoint):
        yield f"Checkpoint: {checkpoint}."
    seeds = _told(figures, lambda one: one.seed)
    if seeds not in ("", "0"):
        yield f"Seed of the attacks: {seeds}."
    precision = _told(figures, lambda one: one.precision)
    if precision not in ("", "float32"):
        yield f"Precision of the search: {precision}. Verified in float32; a search in float32 may find more."
    if departing := list(_departures(figures)):
        yield "Not as in Table A2 (its value in brackets): " + "; ".join(departing) + "."


def of_groups(groups: Iterable[Group]) -> Iterator[str]:
    """Seeds that were put together, and runs that are not at their end."""
    several = [group for group in groups if len(group.records) > 1]
    if several:
        yield "Mean ± sample standard deviation over runs of one recipe: " + "; ".join(map(_seeds, several)) + "."
    for group in groups:
        for record in group.records:
            if trained.unfinished(record):
                yield f"{record.name} {trained.state(record)}."
            for warning in record.shown_warnings:
                yield f"Warning on {record.name}: {warning}."


def _seeds(group: Group) -> str:
    seeds = [record.seed for record in group.records]
    twice = "" if len(set(seeds)) == len(seeds) else ", some of them twice: they are not independent"
    listed = ", ".join(map(str, sorted(seeds)))
    return f"{dataset_title(group.dataset)} {group.label} {len(seeds)} runs (seeds {listed}{twice})"


def without_autoattack(rows: Sequence[Row], groups: Sequence[Group], aa: str | None = None) -> Iterator[str]:
    """Rows whose figures under other attacks stand alone; `aa` is AutoAttack's column, None where a table has none."""
    attacked = [
        (f"{dataset_title(group.dataset)} {group.label}", row)
        for group, row in zip(groups, rows, strict=True)
        if any(cell.measured for cell in row.cells.values())
    ]
    lacking = [name for name, row in attacked if aa is None or row.cells[aa].value is None]
    if lacking:
        where = "" if len(lacking) == len(attacked) else f" for {', '.join(lacking)}"
        yield f"No AutoAttack{where}: the other attacks flatter a model, so no such figure is robust accuracy."


def strengths(rows: Iterable[Row], column: str) -> str:
    """The epsilons that the figures of a column were measured at."""
    used = {one.epsilon for row in rows for one in row.cells[column].measured if one.epsilon}
    return " and ".join(map(name_of, sorted(used)))


def sources(rows: Iterable[Row]) -> str:
    """The runs that images were made against."""
    measured = [one for row in rows for cell in row.cells.values() for one in cell.measured]
    return ", ".join(dict.fromkeys(one.source for one in measured if one.source))


def _told(figures: Sequence[Figure], of: Callable[[Measured], object]) -> str:
    """What the figures share: `360`, or by data set `MNIST 500 (but NT, AT 1,000), digits 360`; empty if not known."""
    known = [figure for figure in figures if of(figure.measured) is not None]
    values = Counter(of(figure.measured) for figure in known)
    if len(values) < 2:
        return "".join(map(_shown, values))
    told = []
    for dataset in dict.fromkeys(figure.dataset for figure in known):
        here = [figure for figure in known if figure.dataset == dataset]
        usual, *others = [value for value, _ in Counter(of(figure.measured) for figure in here).most_common()]
        unlike = [f"{_where([f for f in here if of(f.measured) == other], here)} {_shown(other)}" for other in others]
        but = f" (but {'; '.join(unlike)})" if unlike else ""
        told.append(f"{dataset_title(dataset)} {_shown(usual)}{but}")
    return ", ".join(told)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _where(some: Sequence[Figure], all_of: Sequence[Figure]) -> str:
    """The rows of some figures, with their columns where not all of a row are meant."""
    places = []
    for row in dict.fromkeys(figure.row for figure in some):
        columns = list(dict.fromkeys(figure.column for figure in some if figure.row == row))
        whole = len(columns) == len({figure.column for figure in all_of if figure.row == row})
        places.append(row if whole else f"{row} in {' and '.join(columns)}")
    return ", ".join(places)


def _departures(figures: Sequence[Figure]) -> Iterator[str]:
    """Columns and rows whose attacks have other settings than Table A2's."""
    by_settings: dict[tuple[str, str, str], list[str]] = {}
    for figure in figures:
        if figure.measured.departs:
            rows = by_settings.setdefault((figure.dataset, figure.column, figure.measured.departs), [])
            rows.append(figure.row)
    for (dataset, column, departs), rows in by_settings.items():
        yield f"{column} of {dataset_title(dataset)} {', '.join(dict.fromkeys(rows))}: {departs}"
