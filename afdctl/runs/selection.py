"""Which results of a journal count, decided once for tables, figures, reports, results.h5 and the dashboard.

All attacks that count are on one checkpoint, so that a run's accuracies are of one network: the one asked for (`best`
by default), or where that was not measured the best one, the last one, or the one measured most recently. The same
holds for all analyses. Among results of one checkpoint, these points decide in turn: more images (then a random sample
over the first ones, then more points of an embedding), the suite's own settings over changed ones, a search in float32
over one in bf16, the suite's own grid over another one, and last the newer result.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from afdctl.journal import Row
from afdctl.runs.checkpoints import POINTERS
from afdctl.runs.curves import RobustnessCurve, fault_warnings

# An attack's title, and the run that its images were made on: None for a white-box attack
CurveKey = tuple[str, str | None]
# Digest of a network -> the warnings of its newest sanity check
Warnings = Mapping[str, list[str]]

# a changed grid does not weaken the attack at one epsilon, so it ranks below other changes
GRID = "epsilons"


class Rank(NamedTuple):
    """The order of two results of a kind: the first field in which they differ decides, and the larger counts."""

    images: int
    representative: bool
    points: int
    suite_settings: bool
    float32: bool
    suite_grid: bool
    position: int


def selected_curves(rows: Iterable[Row], checkpoint: str = "best") -> dict[CurveKey, RobustnessCurve]:
    """Build the curve of each attack from the cells that count, which share all settings.

    `checkpoint` is the one asked for: `best`, `last`, a digest or the name of a checkpoint's file.
    """
    rows = list(rows)
    rank, checks = _ranking(rows), warnings_by_network(rows)
    counting = counting_checkpoint(rows, "cell", checkpoint)
    cells: dict[CurveKey, dict[str, list[Row]]] = {}
    for row in rows:
        if row["event"] == "cell" and row["checkpoint"] == counting:
            cells.setdefault((row["attack"], row["source"]), {}).setdefault(_settings(row), []).append(row)
    curves = {}
    for key, by_settings in cells.items():
        # a curve never mixes settings: its accuracies could not be compared
        chosen = _one_per_epsilon(max(by_settings.values(), key=lambda cells: max(map(rank, cells))), rank)
        curves[key] = RobustnessCurve(cells=chosen, warnings=(*warnings_of(chosen[0], checks), *fault_warnings(chosen)))
    return curves


def selected_analyses(rows: Iterable[Row], checkpoint: str = "best") -> dict[str, Row]:
    """Map each analysis to the row that counts; `metrics` has its numbers, `shard` (or None) names its arrays."""
    rows = list(rows)
    rank, counting = _ranking(rows), counting_checkpoint(rows, "analysis", checkpoint)
    selected: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "analysis" and row["checkpoint"] == counting:
            selected[row["name"]] = max(selected.get(row["name"], row), row, key=rank)
    return selected


def selected_features(rows: Iterable[Row], checkpoint: str = "best") -> list[Row]:
    """List the feature rows behind the analyses that count: one of the images, one per attack and epsilon.

    Where two analyses used different features, those of the higher-ranked analysis count.
    """
    rows = list(rows)
    features = {row["key"]: row for row in rows if row["event"] == "features"}
    selected: dict[str, Row] = {}
    for analysis in sorted(selected_analyses(rows, checkpoint).values(), key=_ranking(rows)):
        used = [features[key] for key in analysis["features"] if key in features]
        selected |= {f"{row['attack']} {row['epsilon']:g}": row for row in used}
    return list(selected.values())


def selected_clean(rows: Iterable[Row], checkpoint: str = "best") -> Row | None:
    """Find the row whose `acc_nat` is the clean accuracy on the test split: a cell, or a test of the training."""
    return _of_counting_network(list(rows), ("test", "cell"), checkpoint)


def selected_test(rows: Iterable[Row], checkpoint: str = "best") -> Row | None:
    """Find the test at the end of the training that is of the same network as the attacks that count."""
    return _of_counting_network(list(rows), ("test",), checkpoint)


def _of_counting_network(rows: list[Row], events: Collection[str], checkpoint: str) -> Row | None:
    """Find a row of the network whose attacks count, on most images; without attacks, of the checkpoint asked for."""
    pointers = checkpoint_digests(rows)
    counting = counting_checkpoint(rows, "cell", checkpoint)
    # a `test` row names its checkpoint by the pointer, a cell by the digest
    order = [pointers.get(name, name) for name in (checkpoint, *POINTERS)]
    if counting and counting in pointers.values():
        order.insert(0, counting)

    def rank(place: int) -> tuple[int, int, bool, int]:
        row = rows[place]
        digest = pointers.get(row["checkpoint"], row["checkpoint"])
        return -order.index(digest) if digest in order else -len(order), row["n"], _is_representative(row), place

    places = [place for place, row in enumerate(rows) if row["event"] in events]
    return rows[max(places, key=rank)] if places else None


def counting_checkpoint(rows: Sequence[Row], event: str, checkpoint: str = "best") -> str | None:
    """Return the digest of the checkpoint whose results of one kind, `cell` or `analysis`, count; None without any."""
    measured = _measured(rows, event)
    pointers = checkpoint_digests(rows)
    # a checkpoint's file has the first 16 digits of its digest in its name
    named = [digest for digest in measured if checkpoint not in POINTERS and digest[:16] in checkpoint]
    preferred = [*named, *(pointers.get(name) for name in (checkpoint, *POINTERS))]
    return next((digest for digest in preferred if digest in measured), measured[-1] if measured else None)


def describe_checkpoint_shown(rows: Sequence[Row], event: str, digest: str) -> str | None:
    """Say where results of one kind are shown that do not count because of their checkpoint; None where they count."""
    counting = counting_checkpoint(rows, event)
    if counting is None or counting == digest:
        return None
    name = checkpoint_name(rows, digest)
    folder = f" and are under /{name} in results.h5" if name in POINTERS else ""
    shown = f"tables and figures show the checkpoint {checkpoint_name(rows, counting)}"
    return f"{shown}; results of {name} are shown with `afdctl export --checkpoint {name}`{folder}"


def also_measured(rows: Sequence[Row], event: str, checkpoint: str = "best") -> dict[str, str]:
    """Map `best` or `last` to its digest where it has results of this kind beside those that count."""
    counting, measured = counting_checkpoint(rows, event, checkpoint), _measured(rows, event)
    names = checkpoint_names(rows).items()
    return {name: digest for digest, name in names if digest in measured and digest != counting}


def checkpoint_digests(rows: Iterable[Row]) -> dict[str, str]:
    """Map `last` and `best` to the digests of the present checkpoints, as far as the journal has them."""
    digests: dict[str, str] = {}
    for row in rows:
        if row["event"] == "checkpoint":
            digests |= {"last": row["digest"]} | ({"best": row["digest"]} if row["best"] else {})
    return digests


def checkpoint_names(rows: Iterable[Row]) -> dict[str, str]:
    """Map digests to `best` or `last`, for the present best and last checkpoints; `best` where one is both."""
    # `last` is first in the dictionary, so `best` replaces it
    return {digest: name for name, digest in checkpoint_digests(rows).items()}


def checkpoint_name(rows: Iterable[Row], digest: str) -> str:
    """Return `best` or `last` for a checkpoint that the run still calls so, else the start of its digest."""
    return digest if digest in POINTERS else checkpoint_names(rows).get(digest, digest[:8])


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


def replaced_by_other_images(before: Mapping[Any, Row], after: Mapping[Any, Row]) -> list[tuple[Row, Row]]:
    """Pair each row that counted before with the one of its checkpoint that counts now, on other images."""
    # the images of a larger sample, or all images, are not others
    pairs = [(old, after[key]) for key, old in before.items() if key in after]
    pairs = [(old, new) for old, new in pairs if old["checkpoint"] == new["checkpoint"]]
    return [(old, new) for old, new in pairs if old.get("subset") != new.get("subset") != "all"]


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
    """List the results that count among those of their own checkpoint: checkpoints do not replace each other."""
    curves = [curve for digest in _measured(rows, "cell") for curve in selected_curves(rows, digest).values()]
    analyses = [row for digest in _measured(rows, "analysis") for row in selected_analyses(rows, digest).values()]
    return [*(cell for curve in curves for cell in curve.cells), *analyses]


def _measured(rows: Iterable[Row], event: str) -> list[str]:
    """List the digests of the checkpoints with results of one kind, the most recently measured one last."""
    newest_first = dict.fromkeys(row["checkpoint"] for row in reversed(list(rows)) if row["event"] == event)
    return list(reversed(newest_first))


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
    positions = {id(row): position for position, row in enumerate(rows)}

    def rank(row: Row) -> Rank:
        changed = row.get("changed", ())
        return Rank(
            images=row["n"],
            representative=_is_representative(row),
            points=row.get("points") or 0,
            suite_settings=not set(changed) - {GRID},
            float32=row.get("precision", "float32") == "float32",
            suite_grid=GRID not in changed,
            position=positions[id(row)],
        )

    return rank


def _is_representative(row: Row) -> bool:
    """Whether a result is not on the first images, which may be easier; older versions always took those."""
    return bool(row.get("subset", "first") != "first")


def _settings(row: Row) -> str:
    """Serialize everything except epsilon that a cell's accuracy depends on: equal for the cells of one curve."""
    spec = {key: value for key, value in row["spec"].items() if key != GRID}
    fields = ("precision", "schedule", "checkpoint", "seed", "n")
    settings = [spec, *(row[field] for field in fields), row.get("subset"), row.get("source_checkpoint")]
    return json.dumps(settings, sort_keys=True)
