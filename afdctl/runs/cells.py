"""Which of the many results in a journal count: decided here, for tables, figures, reports, results.h5 and dashboard.

A run's best checkpoint comes before its last one, and both before others, of which the one measured last comes first.
Then more images win (and points of an embedding), then the settings of the suite itself over changed ones, a search in
float32 over one in bf16, the suite's grid over another one, and at last the newer result.
"""

import json
from collections.abc import Callable, Iterable, Sequence

from afdctl.journal import Row

CurveRows = list[Row]
"""Cells of one attack with the same settings, by rising epsilon; 0 (clean) is not among them."""
Weight = tuple[float, int, int, bool, bool, bool, int]
"""What decides between two results of the same kind: the larger counts."""

RANKS = {"best": 2, "last": 1}
GRID = "epsilons"
"""Of the settings in a cell's `changed`, the one that no cell's own accuracy is weaker for."""


def shown_curves(rows: Iterable[Row]) -> dict[tuple[str, str | None], CurveRows]:
    """(attack, source) -> those of its cells that count, which share all settings; source is None for a white box."""
    rows = list(rows)
    weigh = _weigher(rows)
    found: dict[tuple[str, str | None], dict[str, CurveRows]] = {}
    for row in rows:
        if row["event"] == "cell":
            found.setdefault((row["attack"], row["source"]), {}).setdefault(_settings(row), []).append(row)
    return {
        name: _by_epsilon(max(curves.values(), key=lambda cells: max(map(weigh, cells))), weigh)
        for name, curves in found.items()
    }


def shown_analyses(rows: Iterable[Row]) -> dict[str, Row]:
    """Name -> the row of each analysis that counts; `figures` holds its results, `shard` (or None) names its arrays."""
    rows = list(rows)
    weigh = _weigher(rows)
    found: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "analysis":
            found[row["name"]] = max(found.get(row["name"], row), row, key=weigh)
    return found


def shown_features(rows: Iterable[Row]) -> list[Row]:
    """The rows of the features that the analyses that count are of: one of the images, one an attack and epsilon.

    Where two such analyses are of different ones, those of the analysis that counts for more.
    """
    rows = list(rows)
    made = {row["key"]: row for row in rows if row["event"] == "features"}
    found: dict[str, Row] = {}
    for analysis in sorted(shown_analyses(rows).values(), key=_weigher(rows)):
        of_it = [made[key] for key in analysis["features"] if key in made]
        found |= {f"{row['attack']} {row['epsilon']:g}": row for row in of_it}
    return list(found.values())


def shown_clean(rows: Iterable[Row]) -> Row | None:
    """The row whose `acc_nat` counts as clean accuracy on the test split: a cell, or a test of the training."""
    rows = list(rows)
    weigh = _weigher(rows)
    measured = [row for row in rows if row["event"] in ("test", "cell")]
    return max(measured, key=lambda row: (*weigh(row)[:2], weigh(row)[-1]), default=None)


def pointers(rows: Iterable[Row]) -> dict[str, str]:
    """Digest -> `best` or `last`, of the checkpoints that are so called now; `best` where one is both."""
    saved = [row for row in rows if row["event"] == "checkpoint"]
    best = [row for row in saved if row["best"]]
    return {row["digest"]: "last" for row in saved[-1:]} | {row["digest"]: "best" for row in best[-1:]}


def hidden(rows: Iterable[Row], wanted: Iterable[Row]) -> list[Row]:
    """Those of the wanted cells or analyses, which are among the rows, that do not count: others do in their place."""
    shown = {row["key"] for row in _shown(list(rows))}
    return [row for row in wanted if row["key"] not in shown]


def returning(rows: Iterable[Row], wanted: Iterable[Row]) -> list[Row]:
    """Those of the wanted ones that do not count, and would if they were written again, as they then are written.

    A result may be wanted under another name than it was measured under, or as a suite's own that was not one then.
    """
    rows, wanted = list(rows), list(wanted)
    before, after = (set(map(_identity, _shown(some))) for some in (rows, [*rows, *wanted]))
    again = [row for row in wanted if _identity(row) in after - before]
    return [{key: value for key, value in row.items() if key != "t"} for row in again]


def _shown(rows: list[Row]) -> list[Row]:
    return [*(cell for curve in shown_curves(rows).values() for cell in curve), *shown_analyses(rows).values()]


def _identity(row: Row) -> tuple[str, ...]:
    return row["key"], row.get("attack", ""), *row.get("changed", ())


def _by_epsilon(cells: CurveRows, weigh: Callable[[Row], Weight]) -> CurveRows:
    """One cell an epsilon, as results.h5 names it, rising."""
    chosen: dict[str, Row] = {}
    for cell in cells:
        name = f"{cell['epsilon']:g}"
        chosen[name] = max(chosen.get(name, cell), cell, key=weigh)
    return sorted(chosen.values(), key=lambda cell: float(cell["epsilon"]))


def _weigher(rows: Sequence[Row]) -> Callable[[Row], Weight]:
    """The function that weighs one of these rows; of two that weigh the same, the later one counts."""
    names = {"best": "best", "last": "last"} | pointers(rows)
    places = {id(row): place for place, row in enumerate(rows)}
    # below the rank of every pointer
    others = {row["checkpoint"]: place / len(rows) for place, row in enumerate(rows) if "checkpoint" in row}

    def weigh(row: Row) -> Weight:
        changed = row.get("changed", ())
        exact = row.get("precision", "float32") == "float32"
        own = not set(changed) - {GRID}
        rank = RANKS[names[row["checkpoint"]]] if row["checkpoint"] in names else others[row["checkpoint"]]
        return rank, row["n"], row.get("points") or 0, own, exact, GRID not in changed, places[id(row)]

    return weigh


def _settings(row: Row) -> str:
    """All that a cell's accuracy depends on, besides its epsilon: cells of one curve agree in it."""
    spec = {key: value for key, value in row["spec"].items() if key != GRID}
    settings = [spec, row.get("precision", "float32"), *(row[key] for key in ("schedule", "checkpoint", "seed", "n"))]
    return json.dumps(settings, sort_keys=True)
