"""Runs that were not named but lie beside those that were: what they hold need not be made again."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from afdctl.export.tables import trained
from afdctl.export.tables.missing import Need, word
from afdctl.store.overview import UNREADABLE
from afdctl.store.record import Record
from afdctl.store.run import Run


@cache
def at(path: Path) -> Record | None:
    """What a run is and how its training ended; None where none can be read."""
    try:
        return Record.of(Run(path)) if (path / "run.json").is_file() else None
    except UNREADABLE:
        return None


def unnamed(records: Sequence[Record]) -> list[Record]:
    """The runs in the folders of those given whose training is over, the newest first."""
    given = dict.fromkeys(one.run.path.resolve() for one in records)
    folders = dict.fromkeys(path.parent for path in given)
    found = [at(run.path) for folder in folders for run in Run.all(folder) if run.path.resolve() not in given]
    return [one for one in reversed(found) if one and not trained.unfinished(one)]


def naming(other: Record, records: Sequence[Record], table: str, with_paper: bool) -> Need:
    """The table with another run beside those given."""
    paper = ["--paper"] if with_paper else []
    return Need("export", word(other.run), table, (*(word(one.run) for one in records), *paper))
