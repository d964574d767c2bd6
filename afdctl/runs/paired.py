"""Compare two runs on the same images: the exact McNemar test on per-sample results.

Two accuracies on the same images share the luck of the draw, so their separate intervals overlap long after the images
that only one of the runs gets right have decided between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from afdctl.errors import AfdctlError
from afdctl.journal import Row
from afdctl.runs import shards
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.record import Record
from afdctl.runs.results_file import IMAGES
from afdctl.runs.selection import checkpoint_name
from afdctl.runs.shards import Array, Arrays

# Settings of an attack that change how its floats are rounded, not how it searches.
NOT_COMPARED: Final = ("batch_size", "device", "library")
# Fields of a cell, besides the attack's settings, that make results of two runs comparable.
CONDITIONS: Final = ("schedule", "grid", "precision", "source_checkpoint")


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Two runs under one attack at one epsilon, on the `n` images that both were attacked on.

    `accuracies` are on these images. `only_first` and `only_second` count the images that remain robust in one run
    only, McNemar's b and c. `p` is two-sided. Where `reason` says why the runs cannot be paired, all of these are None.
    """

    runs: tuple[str, str]
    checkpoints: tuple[str, str]
    attack: str
    source: str | None
    norm: str
    epsilon: float
    n: int | None = None
    accuracies: tuple[float, float] | None = None
    only_first: int | None = None
    only_second: int | None = None
    p: float | None = None
    reason: str | None = None


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided exact p value of McNemar's test (1947): the binomial test of the discordant counts.

    If neither run is better, each discordant image falls to either side with probability 1/2.
    """
    n, smaller = only_first + only_second, min(only_first, only_second)
    # whole numbers until the last division: a float loses binomial coefficients of more than 1,000 images
    term = tail = 1
    for k in range(smaller):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**n))


def paired_tests(first: Record, second: Record) -> Iterator[PairedTest]:
    """Test two runs under each attack and epsilon that both have, on the checkpoints whose results count.

    Then on the other one of `best` and `last`, where both have results of it.
    """
    others = [(curves, second.other_curves.get(name, {})) for name, curves in first.other_curves.items()]
    for of_first, of_second in ((first.curves, second.curves), *others):
        for key in (key for key in of_first if key in of_second):
            yield from _test_curves(first, of_first[key], second, of_second[key])


def _test_curves(
    first: Record, of_first: RobustnessCurve, second: Record, of_second: RobustnessCurve
) -> Iterator[PairedTest]:
    for one in of_first.cells:
        for other in of_second.cells:
            if f"{one['epsilon']:g}" == f"{other['epsilon']:g}":
                yield paired_test(first, one, second, other)


def paired_test(first: Record, one: Row, second: Record, other: Row) -> PairedTest:
    """Test a cell of each run; both are of the same attack and epsilon."""
    checkpoints = [checkpoint_name(run.rows, cell["checkpoint"]) for run, cell in ((first, one), (second, other))]
    known: dict[str, Any] = {
        "runs": (first.name, second.name),
        "checkpoints": tuple(checkpoints),
        **{key: one[key] for key in ("attack", "source", "norm", "epsilon")},
    }
    if reason := _difference(first, one, second, other):
        return PairedTest(**known, reason=reason)
    try:
        (indices, robust), (other_indices, other_robust) = _robust_images(first, one), _robust_images(second, other)
    except AfdctlError:
        return PairedTest(**known, reason="per-sample results are damaged or missing")
    shared, places, other_places = np.intersect1d(indices, other_indices, assume_unique=True, return_indices=True)
    if not len(shared):
        return PairedTest(**known, reason="no shared images")
    robust, other_robust = robust[places], other_robust[other_places]
    only_first, only_second = int((robust & ~other_robust).sum()), int((other_robust & ~robust).sum())
    return PairedTest(
        **known,
        n=len(shared),
        accuracies=(float(robust.mean()), float(other_robust.mean())),
        only_first=only_first,
        only_second=only_second,
        p=mcnemar(only_first, only_second),
    )


def _difference(first: Record, one: Row, second: Record, other: Row) -> str | None:
    """Say why two cells cannot be paired: other images, or an attack of other settings."""
    digests = [record.run.provenance.get("data_digest") for record in (first, second)]
    if first.dataset != second.dataset or digests[0] != digests[1]:
        return "other data"
    keys = [key for key in one["spec"] | other["spec"] if key not in NOT_COMPARED]
    differing = [key for key in keys if one["spec"].get(key) != other["spec"].get(key)]
    differing += [key for key in CONDITIONS if one.get(key) != other.get(key)]
    return f"other settings ({', '.join(differing)})" if differing else None


def _robust_images(record: Record, cell: Row) -> tuple[Array, Array]:
    """Return the indices (n,) of a cell's images, and whether each remains robust (n,) bool. Error: CorruptError."""
    arrays = shards.read(record.run, cell["shard"], without=IMAGES)
    return image_indices(cell, arrays), np.isinf(arrays[f"{cell['epsilon']:g}/distance"])


def image_indices(cell: Row, arrays: Arrays) -> Array:
    """Return the indices (n,) in the test split of the images that a cell was measured on."""
    # a sweep that does not store them attacked the first images
    return arrays["index"] if "index" in arrays else np.arange(cell["n"])


def format_p(p: float) -> str:
    """Format a p value with two significant digits: `p = 0.73`, `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {float(f'{p:.2g}'):g}"
