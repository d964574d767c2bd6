"""The checks of networks in a run's journal: what speaks against the numbers that were measured on them."""

from collections.abc import Iterable, Mapping

from afdctl.journal import Row

Warnings = Mapping[str, list[str]]
"""Digest of a network -> the warnings of its newest check."""


def by_network(rows: Iterable[Row]) -> Warnings:
    """The warnings of each network that a journal has a check of."""
    return {row["checkpoint"]: row["warnings"] for row in rows if row["event"] == "check"}


def warnings_of(row: Row, checks: Warnings) -> list[str]:
    """What checks say against a cell or an analysis: of its network, and of the source of a transfer's images."""
    of_source = checks.get(row.get("source_checkpoint") or "", [])
    return [*checks.get(row["checkpoint"], []), *(f"{row['source']}: {line}" for line in of_source)]
