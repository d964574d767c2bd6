"""Warnings of the sanity checks of networks, as a journal has them."""

from collections.abc import Iterable, Mapping

from afdctl.journal import Row

# Digest of a network -> the warnings of its newest check.
Warnings = Mapping[str, list[str]]


def by_network(rows: Iterable[Row]) -> Warnings:
    """Return the warnings of each network that was checked."""
    return {row["checkpoint"]: row["warnings"] for row in rows if row["event"] == "sanity_check"}


def warnings_of(row: Row, checks: Warnings) -> list[str]:
    """Return the warnings for a cell or an analysis: of its network, and of the source of a transfer attack."""
    of_source = checks.get(row.get("source_checkpoint") or "", [])
    return [*checks.get(row["checkpoint"], []), *(f"{row['source']}: {line}" for line in of_source)]
