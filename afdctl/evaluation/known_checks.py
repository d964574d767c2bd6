"""The sanity checks that a run's journal has: a network is checked once on the same images, and its check kept once.

Of a network whose code is a user's, they also have its fingerprint, as what the code reads outside its folder is in no
digest. A network with other outputs than the first one of its code and weights is another network.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import torch
from torch import nn

from afdctl.data import Dataset
from afdctl.errors import NotFoundError
from afdctl.evaluation import sanity_checks
from afdctl.evaluation.outputs import check_images, compute_fingerprint, matches_fingerprint
from afdctl.journal import JournalCache, JournalOutline, Row, drop_superseded
from afdctl.runs.run import Run

OTHER_OUTPUTS: Final = (
    "it returns other logits than when it was first measured, although its code and weights are the same (a file in "
    "another folder, the environment, a library?); these results are of the network as it is now"
)


def find_or_make(
    run: Run, network: nn.Module, dataset: Dataset, device: torch.device, digest: str, *, own_code: bool = False
) -> Row:
    """Return the newest check of a network on a data set from the run's journal, or check it where there is none.

    `digest` is that of its code and weights. The check of a network whose code is a user's (`own_code`) is of a digest
    of its outputs too, unless these are the first ones. Errors: those of `sanity_checks.measure`.
    """
    written = _written(run)
    if not own_code:
        known = [row for row in written if _identity(row) == (digest, dataset.digest, sanity_checks.VERSION)]
        return known[-1] if known else sanity_checks.run_check(network, dataset, device, digest)
    x, classes = check_images(dataset, device), len(dataset.classes)
    variants = [row for row in written if row["data"] == dataset.digest and _is_variant(row, digest)]
    same = next(
        (row for row in reversed(variants) if matches_fingerprint(network, x, classes, row["fingerprint"])), None
    )
    if same and same["version"] == sanity_checks.VERSION:
        return same
    fingerprint = same["fingerprint"] if same else compute_fingerprint(network, x, classes)
    is_first = not variants or (same and same["checkpoint"] == digest)
    current = digest if is_first else digest_with_outputs(digest, fingerprint)
    check = sanity_checks.run_check(network, dataset, device, current)
    warnings = [*([] if is_first else [OTHER_OUTPUTS]), *check["warnings"]]
    return check | {"fingerprint": fingerprint, "warnings": warnings}


def digest_with_outputs(digest: str, fingerprint: Sequence[float]) -> str:
    """Return SHA-256 in hex of a network's code and weights, and of what it returns."""
    return sha256(f"{digest} {list(fingerprint)}".encode()).hexdigest()


def _is_variant(row: Row, digest: str) -> bool:
    """Whether a check is of this code and these weights, with any outputs."""
    if "fingerprint" not in row:
        return False
    return row["checkpoint"] in (digest, digest_with_outputs(digest, row["fingerprint"]))


def _written(run: Run) -> list[Row]:
    """Read the checks in a run's journal; none without one, or where it is damaged."""
    with suppress(NotFoundError):
        return [row for row in JournalOutline(run.journal_path).rows if row["event"] == "sanity_check"]
    return []


def missing(checks: Iterable[Row], reader: JournalCache) -> list[Row]:
    """Return those of the checks that the journal of a run with results on their networks lacks."""
    written = {_identity(row) for row in drop_superseded(reader.of_event("sanity_check"))}
    wanted = {_identity(check): check for check in checks if check}
    lacking = [check for identity, check in wanted.items() if identity not in written]
    return [{key: value for key, value in check.items() if key != "t"} for check in lacking]


def _identity(row: Row) -> tuple[Any, ...]:
    """Return what a check is of: network, images, version of the checks."""
    return row["checkpoint"], row["data"], row["version"]
