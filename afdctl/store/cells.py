"""Which of the many cells and analyses in a journal stand for an attack now: the newest."""

import json
from collections.abc import Iterable

from afdctl.events import Row

Curve = list[Row]
"""Cells of one attack with the same settings, by rising epsilon; 0 (clean) is not among them."""


def newest_curves(rows: Iterable[Row]) -> dict[tuple[str, str | None], Curve]:
    """(attack, source) -> its cells that share the settings of the newest one; source is None for a white box."""
    newest: dict[tuple[str, str | None], tuple[str, dict[float, Row]]] = {}
    for row in rows:
        if row["event"] == "cell":
            name, settings = (row["attack"], row["source"]), _settings(row)
            if name not in newest or newest[name][0] != settings:
                newest[name] = (settings, {})
            newest[name][1][row["epsilon"]] = row
    return {name: [cells[epsilon] for epsilon in sorted(cells)] for name, (_, cells) in newest.items()}


def newest_analyses(rows: Iterable[Row]) -> dict[str, Row]:
    """Name -> the newest row of each analysis; `figures` holds its results, `shard` (or None) names its arrays."""
    newest: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "analysis" and replaces(row, newest.get(row["name"])):
            newest[row["name"]] = row
    return newest


def replaces(row: Row, earlier: Row | None) -> bool:
    """Whether a later row takes an earlier one's place: a look at fewer images of the same network does not."""
    return earlier is None or row["checkpoint"] != earlier["checkpoint"] or row["n"] >= earlier["n"]


def _settings(row: Row) -> str:
    """All that a cell's figure depends on, besides its epsilon: cells of one curve agree in it."""
    spec = {key: value for key, value in row["spec"].items() if key != "epsilons"}
    # cells from before there was a choice were searched in float32
    settings = [spec, row.get("precision", "float32"), *(row[key] for key in ("schedule", "checkpoint", "seed", "n"))]
    return json.dumps(settings, sort_keys=True)
