"""Whether the network that was read back is the run's: from one export to checked files."""

from dataclasses import dataclass
from typing import Any

import torch

from afdctl.errors import AfdctlError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.export.weights.format import ExportedModel, Files, WeightFormat, about
from afdctl.formatting import one_line_error

IMAGES = 256
"""Test images that a file is checked on."""
ROUNDING = 1e-4
"""Largest difference of two logits, as a share of the largest logit, that is no disagreement.

Another library sums float32 in another order and folds BatchNorm into convolutions, which through ResNet-18 made 2e-6
on MNIST; deeper networks get fifty times that. What a wrong weight or a lost normalisation changes is of the order of
the logits themselves. All is done on the CPU in float32, as TF32 alone would make 1e-3. Within the tolerance a
prediction can only differ where two classes tie, so the count of those is told but does not decide.
"""


@dataclass(frozen=True)
class RoundTripCheck:
    """Of n images: the largest absolute difference of two logits, what is allowed, and how many predictions differ."""

    n: int
    max_difference: float
    tolerance: float
    differing: int


def exported(subject: EvaluationTarget) -> ExportedModel:
    """A subject on the CPU, ready to be packed."""
    x = subject.split.x[:IMAGES] / 255
    return ExportedModel(f"{subject.name}-{subject.digest[:8]}", subject.network, x, about(subject))


@torch.no_grad()
def checked(what: ExportedModel, form: WeightFormat, files: Files) -> RoundTripCheck:
    """Read the files back, and compare; AfdctlError where they do not agree with the network."""
    own = what.network(what.x)
    if not own.isfinite().all():
        raise AfdctlError(f"{what.name}: the run's own logits are NaN or infinite; export another checkpoint")
    try:
        loaded = form.unpack(files)(what.x)
    except Exception as error:
        raise AfdctlError(
            f"{what.name}: nothing written: the file cannot be read back ({one_line_error(error)})"
        ) from error
    found = compare(own, loaded)
    # not the other way round: NaN is a disagreement
    if not found.max_difference <= found.tolerance:
        raise AfdctlError(
            f"{what.name}: nothing written: read back, the logits of {found.n} test images differ by up to "
            f"{found.max_difference:.2g} (rounding allows {found.tolerance:.2g}), {found.differing} predictions differ"
        )
    return found


def compare(own: torch.Tensor, loaded: Any) -> RoundTripCheck:
    """Logits (n, classes) of the network against those of the file."""
    if loaded.shape != own.shape:
        raise AfdctlError(
            f"nothing written: read back, the model returns {tuple(loaded.shape)}, not {tuple(own.shape)}"
        )
    difference = (own - loaded).abs().max().item()
    differing = int((own.argmax(1) != loaded.argmax(1)).sum())
    return RoundTripCheck(len(own), difference, ROUNDING * own.abs().max().item(), differing)
