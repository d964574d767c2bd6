"""Recognise a custom model by its outputs: code and tensors do not tell everything that they depend on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from afdctl.attacks.query_counter import seed_global_rng
from afdctl.evaluation.sanity_checks import check_output, forward, preserved_state
from afdctl.models.precision import true_float32

# how far a fingerprint of the same model may be off, as a share of its largest number: other threads, devices and
# versions of torch sum float32 in another order (1e-6 measured on the CPU). Rounding to equality would not do, since
# of a hundred numbers some are always next to the edge between two rounded values.
ROUNDING = 1e-4
# how many times the difference of two passes of a random model a fingerprint may be off too
NOISE = 3


def compute_fingerprint(network: nn.Module, x: Tensor, classes: int) -> list[float]:
    """Compute one number per image x (n, c, h, w): a fixed mix of its logits. Errors: those of `sanity_checks.check`.

    It distinguishes models that share code and tensors but not plain attributes, files that they read, or globals.
    """
    with (
        preserved_state(network, x.device),
        seed_global_rng(0, x.device),
        true_float32(network),
    ):
        logits = forward(network, x)
    check_output(logits, len(x), classes)
    mix = torch.arange(1, classes + 1, dtype=torch.float64).cos()
    numbers: list[float] = (logits.double().cpu() @ mix).tolist()
    return numbers


def matches_fingerprint(network: nn.Module, x: Tensor, classes: int, fingerprint: Sequence[float]) -> bool:
    """Whether the network gives the images this fingerprint, up to rounding and its own noise."""
    expected, actual = torch.tensor(fingerprint), torch.tensor(compute_fingerprint(network, x, classes))
    if expected.shape != actual.shape:
        return False
    difference, tolerance = (actual - expected).abs().max(), ROUNDING * expected.abs().max()
    if difference <= tolerance:
        return True
    noise = (actual - torch.tensor(compute_fingerprint(network, x, classes))).abs().max()
    return bool(difference <= tolerance + NOISE * noise)
