"""Which results of a journal count, decided once for tables, figures, reports, results.h5 and the dashboard.

Of two results of the same kind, these points decide in turn: the checkpoint (the best one, then the last one, then the
one measured most recently), more images (then more points of an embedding), the suite's own settings over changed ones,
a search in float32 over one in bf16, the suite's own grid over another one, and last the newer result.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from afdctl.journal import Row
from afdctl.runs.curves import RobustnessCurve

# An attack's title, and the run that its images were made on: None for a white-box attack
CurveKey = tuple[str, str | None]
# Digest of a network -> the warnings of its newest sanity check
Warnings = Mapping[str, list[str]]

CHECKPOINT_RANKS = {"best": 2, "last": 1}
# a changed grid does not weaken the attack at one epsilon, so it ranks below other changes
GRID = "epsilons"


class Rank(NamedTuple):
    """The order of two results of the same kind: the first field in which they differ decides, and the larger counts.

    `checkpoint` is 2 for the best one, 1 for the last one, and below 1 for others.
    """

    checkpoint: float
    images: int
    points: int
    suite_settings: bool
    float32: bool
    suite_grid: bool
    position: int


def selected_curves(rows: Iterable[Row]) -> dict[CurveKey, RobustnessCurve]:
    """Build the curve of each attack from the cells that count, which share all settings."""
    rows = list(rows)
    rank, checks = _ranking(rows), warnings_by_network(rows)
    cells: dict[CurveKey, dict[str, list[Row]]] = {}
    for row in rows:
        if row["event"] == "cell":
            cells.setdefault((row["attack"], row["source"]), {}).setdefault(_settings(row), []).append(row)
    curves = {}
    for key, by_settings in cells.items():
        # a curve never mixes settings: its accuracies could not be compared
        chosen = _one_per_epsilon(max(by_settings.values(), key=lambda cells: max(map(rank, cells))), rank)
        curves[key] = RobustnessCurve(cells=chosen, warnings=tuple(warnings_of(chosen[0], checks)))
    return curves


def selected_analyses(rows: Iterable[Row]) -> dict[str, Row]:
    """Map each analysis to the row that counts; `figures` has its metrics, `shard` (or None) names its arrays."""
    rows = list(rows)
    rank = _ranking(rows)
    selected: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "analysis":
            selected[row["name"]] = max(selected.get(row["name"], row), row, key=rank)
    return selected


def selected_features(rows: Iterable[Row]) -> list[Row]:
    """List the feature rows behind the analyses that count: one of the images, one per attack and epsilon.

    Where two analyses used different features, those of the higher-ranked analysis count.
    """
    rows = list(rows)
    features = {row["key"]: row for row in rows if row["event"] == "features"}
    selected: dict[str, Row] = {}
    for analysis in sorted(selected_analyses(rows).values(), key=_ranking(rows)):
        used = [features[key] for key in analysis["features"] if key in features]
        selected |= {f"{row['attack']} {row['epsilon']:g}": row for row in used}
    return list(selected.values())


def selected_clean(rows: Iterable[Row]) -> Row | None:
    """Find the row whose `acc_nat` is the clean accuracy on the test split: a cell, or a test of the training."""
    rows = list(rows)
    rank = _ranking(rows)
    candidates = [row for row in rows if row["event"] in ("test", "cell")]

    def clean_rank(full: Rank) -> tuple[float, int, int]:
        # settings of an attack do not matter to clean accuracy
        return full.checkpoint, full.images, full.position

    return max(candidates, key=lambda row: clean_rank(rank(row)), default=None)


def checkpoint_names(rows: Iterable[Row]) -> dict[str, str]:
    """Map digests to `best` or `last`, for the present best and last checkpoints; `best` where one is both."""
    saved = [row for row in rows if row["event"] == "checkpoint"]
    best = [row for row in saved if row["best"]]
    # `best` overrides `last` where one checkpoint is both
    return {row["digest"]: "last" for row in saved[-1:]} | {row["digest"]: "best" for row in best[-1:]}


def warnings_by_network(rows: Iterable[Row]) -> Warnings:
    """Return the warnings of the newest sanity check of each network that was checked."""
    return {row["checkpoint"]: row["warnings"] for row in rows if row["event"] == "sanity_check"}


def warnings_of(row: Row, checks: Warnings) -> list[str]:
    """Return the warnings for a cell or an analysis: of its network, and of the source of a transfer attack."""
    of_source = checks.get(row.get("source_checkpoint") or "", [])
    return [*checks.get(row["checkpoint"], []), *(f"{row['source']}: {line}" for line in of_source)]


def not_selected(rows: Iterable[Row], candidates: Iterable[Row]) -> list[Row]:
    """List the candidates, cells or analyses among the rows, in whose place other results count."""
    selected = {row["key"] for row in _selected(list(rows))}
    return [row for row in candidates if row["key"] not in selected]


def rows_to_rewrite(rows: Iterable[Row], candidates: Iterable[Row]) -> list[Row]:
    """List the candidates that do not count now but would if they were written again, as they are to be written.

    A result may be asked for under another name than it was measured under, or as a suite's own setting that had been
    a changed one.
    """
    rows, candidates = list(rows), list(candidates)
    before, after = (set(map(_identity, _selected(some))) for some in (rows, [*rows, *candidates]))
    newly_selected = [row for row in candidates if _identity(row) in after - before]
    # the journal gives a row without `t` the time at which it is written
    return [{key: value for key, value in row.items() if key != "t"} for row in newly_selected]


def _selected(rows: list[Row]) -> list[Row]:
    cells = [cell for curve in selected_curves(rows).values() for cell in curve.cells]
    return [*cells, *selected_analyses(rows).values()]


def _identity(row: Row) -> tuple[str, ...]:
    return row["key"], row.get("attack", ""), *row.get("changed", ())


def _one_per_epsilon(cells: list[Row], rank: Callable[[Row], Rank]) -> tuple[Row, ...]:
    """Keep the highest-ranked cell of each epsilon (to six digits, as results.h5 names them), rising."""
    chosen: dict[str, Row] = {}
    for cell in cells:
        name = f"{cell['epsilon']:g}"
        chosen[name] = max(chosen.get(name, cell), cell, key=rank)
    return tuple(sorted(chosen.values(), key=lambda cell: float(cell["epsilon"])))


def _ranking(rows: Sequence[Row]) -> Callable[[Row], Rank]:
    """Return the function that ranks these rows; of two equal ones the later row counts."""
    # a `test` row names its checkpoint by the pointer, other rows by the digest
    names = {"best": "best", "last": "last"} | checkpoint_names(rows)
    positions = {id(row): position for position, row in enumerate(rows)}
    # recently measured first, all below the rank of `last`
    recency = {row["checkpoint"]: position / len(rows) for position, row in enumerate(rows) if "checkpoint" in row}

    def rank(row: Row) -> Rank:
        digest, changed = row["checkpoint"], row.get("changed", ())
        return Rank(
            checkpoint=CHECKPOINT_RANKS[names[digest]] if digest in names else recency[digest],
            images=row["n"],
            points=row.get("points") or 0,
            suite_settings=not set(changed) - {GRID},
            float32=row.get("precision", "float32") == "float32",
            suite_grid=GRID not in changed,
            position=positions[id(row)],
        )

    return rank


def _settings(row: Row) -> str:
    """Serialize everything except epsilon that a cell's accuracy depends on: equal for the cells of one curve."""
    spec = {key: value for key, value in row["spec"].items() if key != GRID}
    settings = [spec, row["precision"], *(row[key] for key in ("schedule", "checkpoint", "seed", "n"))]
    return json.dumps(settings, sort_keys=True)
