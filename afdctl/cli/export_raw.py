"""`afdctl export --events` and `--cells`: the journals of runs as tables for other programs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from afdctl.cli.export_output import ExportOptions, agree, put, records_of
from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import did_you_mean

if TYPE_CHECKING:
    from afdctl.runs.record import Record


def export_events(wanted: ExportOptions, kind: str) -> None:
    """Write the steps, epochs and tests of the runs."""
    from afdctl.export import raw

    _export(wanted, kind, "events", raw.events, "its training has not begun, or it was trained elsewhere")


def export_cells(wanted: ExportOptions, kind: str) -> None:
    """Write the cells that the runs' sweeps measured."""
    from afdctl.export import raw

    _export(wanted, kind, "cells", raw.cells, "nothing was attacked yet; `afdctl sweep RUN` does it")


def _export(
    wanted: ExportOptions, kind: str, what: str, rows_of: "Callable[[list[Record]], list[dict[str, Any]]]", empty: str
) -> None:
    from afdctl.export import raw
    from afdctl.export.tables.render import SUFFIXES

    if kind not in raw.FORMATS:
        raise RecipeError(f"--{what} {kind}: no such format ({did_you_mean(kind, list(raw.FORMATS))})")
    agree(wanted, f"--{what}", kind, SUFFIXES)
    rows = rows_of(records_of(wanted))
    if not rows:
        names = ", ".join(run.name for run in wanted.runs)
        raise NotFoundError(f"--{what}: {names} has none: {empty}")
    put(wanted, raw.FORMATS[kind](rows), f"{what}.{kind}")
