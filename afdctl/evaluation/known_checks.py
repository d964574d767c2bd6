"""The sanity checks that a run's journal has: a network is checked once on the same images, and its check kept once."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from afdctl.errors import NotFoundError
from afdctl.evaluation import sanity_checks
from afdctl.journal import JournalCache, JournalOutline, Row, drop_superseded
from afdctl.runs.run import Run


def find(run: Run, digest: str, data_digest: str) -> Row | None:
    """Find the newest check of these weights on these images in the run's journal."""
    rows: list[Row] = []
    # no journal yet, or a damaged one, which does not matter to what only needs the weights
    with suppress(NotFoundError):
        rows = JournalOutline(run.journal_path).rows
    identity = (digest, data_digest, sanity_checks.VERSION)
    checks = [row for row in rows if row["event"] == "sanity_check" and _identity(row) == identity]
    return checks[-1] if checks else None


def missing(checks: Iterable[Row], reader: JournalCache) -> list[Row]:
    """Return those of the checks that the journal of a run with results on their networks lacks."""
    written = {_identity(row) for row in drop_superseded(reader.of_event("sanity_check"))}
    wanted = {_identity(check): check for check in checks if check}
    lacking = [check for identity, check in wanted.items() if identity not in written]
    return [{key: value for key, value in check.items() if key != "t"} for check in lacking]


def _identity(row: Row) -> tuple[Any, ...]:
    """Return what a check is of: network, images, version of the checks."""
    return row["checkpoint"], row["data"], row["version"]
