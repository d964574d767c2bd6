"""Accuracy on images made against another model, and the runs that they are made against."""

from collections.abc import Sequence

from afdctl import recipe as recipes
from afdctl.errors import AfdctlError
from afdctl.export.tables.paper import Measurement, accuracy_at
from afdctl.runs.record import Record, method_of
from afdctl.runs.run import Run


def transfer_accuracy(
    record: Record, attack: str, epsilon: float, method: str, records: Sequence[Record]
) -> Measurement | None:
    """Return accuracy on images made against a run of another method."""
    given = {source.name: source for source in source_runs(record, method, records)}
    candidates: list[tuple[tuple[bool, bool, int, float], Measurement]] = []
    for (name, source), curve in record.curves.items():
        if name != attack or source is None or not (measurement := accuracy_at(record, curve, epsilon)):
            continue
        # a cell names its source run; the method is in that run's recipe
        if _method_on_disk(record, source) == method:
            # first a source that the user named, then one of the same seed, then more images, then the newest result
            same_seed = source in given and given[source].seed == record.seed
            rank = (source in given, same_seed, curve.n, max(cell["t"] for cell in curve.cells))
            candidates.append((rank, measurement))
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def source_runs(record: Record, method: str, records: Sequence[Record]) -> list[Record]:
    """List the given runs of a method on the same data set, those of the run's own seed first."""
    path = record.run.path.resolve()
    others = [
        other
        for other in records
        if (other.dataset, other.method) == (record.dataset, method) and other.run.path.resolve() != path
    ]
    return sorted(others, key=lambda other: other.seed != record.seed)


def _method_on_disk(record: Record, source: str) -> str | None:
    """Return the method of a transfer's source, a run in the same folder; None if it is gone or damaged."""
    run = Run(record.run.path.resolve().parent / source)
    try:
        return method_of(recipes.loads(run.recipe_text, run.path) if run.recipe_text else None, run.name)
    except (AfdctlError, OSError):
        return None
