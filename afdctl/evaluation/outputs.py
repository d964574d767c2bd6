"""Feed a model images as a check does: its state preserved, anything but logits refused; and its fingerprint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.attacks.query_counter import seed_global_rng
from afdctl.data import Dataset
from afdctl.data.loader import Split, as_floats
from afdctl.errors import AfdctlError, RecipeError, fit_in_memory, out_of_memory
from afdctl.formatting import one_line_error, with_article
from afdctl.models.precision import true_float32

# test images that a model is checked with
CHECKED_IMAGES = 128
# how far a fingerprint of the same model may be off, as a share of its largest number: other threads, devices and
# versions of torch sum float32 in another order (1e-6 measured on the CPU). Rounding to equality would not do, since
# of a hundred numbers some are always next to the edge between two rounded values.
ROUNDING = 1e-4
# how many times the difference of two passes of a random model a fingerprint may be off too
NOISE = 3


def check_images(dataset: Dataset, device: torch.device) -> Tensor:
    """Return the test images that models are checked with, in [0, 1]."""
    return as_floats(Split(dataset.test, "cpu").head(CHECKED_IMAGES).to(device).x)


@contextmanager
def preserved_state(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Use evaluation mode inside, then restore the modes and torch's generators."""
    modes = [(part, part.training) for part in network.modules()]
    cuda = [device] if device.type == "cuda" else []
    network.eval()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def forward(network: nn.Module, x: Tensor) -> Tensor:
    """Compute logits, in smaller batches where memory is short; RecipeError where the model rejects the images."""

    def forward_in_parts(size: int) -> Any:
        return network(x) if size == len(x) else torch.cat([network(part) for part in torch.split(x, size)])

    try:
        logits: Tensor = fit_in_memory(forward_in_parts, len(x))
    except Exception as error:
        if out_of_memory(error) or type(error) is AfdctlError:
            raise
        channels_last = x.dim() == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3)
        hint = "; of images (n, h, w, c), pass x.permute(0, 3, 1, 2)" if channels_last else ""
        raise RecipeError(
            f"the model rejects images of shape {_shape(x)}: {one_line_error(error.__cause__ or error)}{hint}"
        ) from error
    return logits


def _shape(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"


def check_output(logits: object, n: int, classes: int) -> None:
    """Raise RecipeError unless the output is finite logits (n, classes); 0 classes are not known."""
    expected = f"logits ({n}, {classes or 'classes'})"
    if not isinstance(logits, Tensor):
        raise RecipeError(f"the model returns {with_article(type(logits).__name__)}, not a tensor of {expected}")
    if logits.dim() == 2 and len(logits) == n and logits.shape[1] != classes:
        raise RecipeError(f"the model has {logits.shape[1]} classes, the data set has {classes}")
    if logits.shape != (n, classes):
        raise RecipeError(f"the model returns a tensor of shape {_shape(logits)}, not {expected}")
    if not logits.is_floating_point():
        raise RecipeError(f"the model returns {logits.dtype} values, not logits, so attacks have no gradient")
    if broken := int((~logits.isfinite()).any(1).sum()):
        raise RecipeError(f"the model returns NaN or infinity for {broken} of {n} images")


def compute_fingerprint(network: nn.Module, x: Tensor, classes: int) -> list[float]:
    """Compute one number per image x (n, c, h, w): a fixed mix of its logits. Errors: those of `check`.

    It distinguishes models that share code and tensors but not plain attributes, files that they read, or globals.
    """
    with preserved_state(network, x.device), seed_global_rng(0, x.device), true_float32(network):
        logits = forward(network, x)
    check_output(logits, len(x), classes)
    # a different weight for each class, so that exchanged classes change the number
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
