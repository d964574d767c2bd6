"""What a model's outputs show: whether it can be attacked, whether results mean what they seem to, and its identity."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from afdctl.attacks.base import margin
from afdctl.attacks.query_counter import seed_global_rng
from afdctl.data import Dataset
from afdctl.data.loader import Split, as_floats
from afdctl.errors import AfdctlError, RecipeError, fit_in_memory, out_of_memory
from afdctl.formatting import one_line_error, with_article
from afdctl.journal import Row
from afdctl.models.precision import true_float32
from afdctl.models.user_model import UserModel

# raise it when the checks change, so that earlier warnings do not pass for new ones
VERSION = 1
# test images that a model is checked with
CHECKED_IMAGES = 128
# largest distance of the normalised logits of two forward passes (AutoAttack's check for randomised defenses)
RANDOM_DISTANCE = 1e-4
# largest difference of an image's probabilities alone and within a batch; TF32 rounds each batch differently
BATCH_DIFFERENCE = 1e-2
# images that are also fed one by one
SINGLE_IMAGES = 8
# share of images without a gradient that is more than coincidence
DEAD_SHARE = 0.01
SUM_TOLERANCE = 1e-3
# how far a fingerprint of the same model may be off, as a share of its largest number: other threads, devices and
# versions of torch sum float32 in another order (1e-6 measured on the CPU). Rounding to equality would not do, since
# of a hundred numbers some are always next to the edge between two rounded values.
ROUNDING = 1e-4
# how many times the difference of two passes of a random model a fingerprint may be off too
NOISE = 3


def run_check(network: nn.Module, dataset: Dataset, device: torch.device, digest: str) -> Row:
    """Check a network on a data set, and return the journal's row. Errors: those of `check`."""
    x = check_images(dataset, device)
    warnings = check(network, x, dataset.test.y[: len(x)].to(device), dataset.classes)
    if isinstance(network, UserModel):
        warnings = network.warnings + warnings
    return {
        "event": "sanity_check",
        "checkpoint": digest,
        "data": dataset.digest,
        "version": VERSION,
        "n": len(x),
        "warnings": warnings,
    }


def check_images(dataset: Dataset, device: torch.device) -> Tensor:
    """Return the test images that models are checked with, in [0, 1]."""
    return as_floats(Split(dataset.test, "cpu").head(CHECKED_IMAGES).to(device).x)


def check(network: nn.Module, x: Tensor, y: Tensor, classes: Sequence[str]) -> list[str]:
    """Feed about a hundred images x (n, c, h, w) in [0, 1] with labels y (n,), and return one-line warnings.

    Modes, gradients and torch's generators are left as they were. Error: RecipeError where the model cannot be
    attacked because it rejects the images or returns anything but finite logits (n, classes).
    """
    # before `preserved_state`, which switches to evaluation mode
    in_training = any(part.training for part in network.modules())
    with preserved_state(network, x.device):
        logits = forward(network, x)
        check_output(logits, len(x), len(classes))
        warnings = ["the model is in training mode; attacks see it in evaluation mode"] if in_training else []
        warnings += _probability_warnings(logits)
        random = _random_warnings(network, x, logits)
        # a random model's outputs also differ for a single image, whatever its batch
        warnings += random or _batch_warnings(network, x, logits)
        warnings += _gradient_warnings(network, x, y)
        warnings += _chance_warnings(logits, y, len(classes), isinstance(network, UserModel))
    return warnings


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
        raise RecipeError(
            f"the model rejects images of shape {_shape(x)}: {one_line_error(error.__cause__ or error)}"
        ) from error
    return logits


def _shape(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"


def check_output(logits: object, n: int, classes: int) -> None:
    """Raise RecipeError unless the output is finite logits (n, classes)."""
    if not isinstance(logits, Tensor):
        kind = with_article(type(logits).__name__)
        raise RecipeError(f"the model returns {kind}, not a tensor of logits ({n}, {classes})")
    if logits.dim() == 2 and len(logits) == n and logits.shape[1] != classes:
        raise RecipeError(f"the model has {logits.shape[1]} classes, the data set has {classes}")
    if logits.shape != (n, classes):
        raise RecipeError(f"the model returns a tensor of shape {_shape(logits)}, not logits ({n}, {classes})")
    if not logits.is_floating_point():
        raise RecipeError(f"the model returns {logits.dtype} values, not logits, so attacks have no gradient")
    if broken := int((~logits.isfinite()).any(1).sum()):
        raise RecipeError(f"the model returns NaN or infinity for {broken} of {n} images")


def _probability_warnings(logits: Tensor) -> list[str]:
    sums_to_1 = (logits.sum(1) - 1).abs().max() < SUM_TOLERANCE
    if not (sums_to_1 and logits.min() >= 0 and logits.max() <= 1):
        return []
    return ["the outputs are probabilities, whose gradients vanish; leave the softmax out, or return their logarithm"]


def _random_warnings(network: nn.Module, x: Tensor, logits: Tensor) -> list[str]:
    first, second = (z / z.norm(dim=1, keepdim=True).clamp_min(1e-12) for z in (logits, forward(network, x)))
    if (first - second).norm(dim=1).max() <= RANDOM_DISTANCE:
        return []
    return ["two passes of the same images differ: the model is random, so its robust accuracy is overestimated"]


def _batch_warnings(network: nn.Module, x: Tensor, logits: Tensor) -> list[str]:
    alone = torch.cat([forward(network, image) for image in torch.split(x[:SINGLE_IMAGES], 1)])
    # a model that squeezes its output loses the batch dimension of a single image
    if alone.shape == logits[:SINGLE_IMAGES].shape:
        difference = (softmax(alone, 1) - softmax(logits[:SINGLE_IMAGES], 1)).abs().max()
        if difference <= BATCH_DIFFERENCE:
            return []
    return ["an image's outputs depend on its batch, so accuracies change with the batch size"]


def _gradient_warnings(network: nn.Module, x: Tensor, y: Tensor) -> list[str]:
    """Warn of images whose cross-entropy or margin has no gradient in the image.

    A tiny gradient counts, as attacks take steps of fixed length: that of a confident model, whose probability is 1 in
    float32, still points the right way. It is 0 only where the exponential of the margin underflows.
    """

    @torch.enable_grad()
    def zero_gradients(size: int) -> list[tuple[Tensor, Tensor]] | None:
        masks = []
        for images, labels in zip(torch.split(x, size), torch.split(y, size), strict=True):
            leaf = images.detach().requires_grad_()
            logits: Tensor = network(leaf)
            if not logits.requires_grad:
                return None
            ce = _zero_gradient(cross_entropy(logits, labels, reduction="sum"), leaf)
            masks.append((ce, _zero_gradient(margin(logits, labels).sum(), leaf)))
        return masks

    parts = fit_in_memory(zero_gradients, len(x))
    if parts is None:
        return ["the outputs have no gradient with respect to the image; attacks that follow one find nothing"]
    zero_ce, zero_margin = (torch.cat(masks) for masks in zip(*parts, strict=True))
    # an image without either gradient is reported once, in the more serious warning
    zero_ce &= ~zero_margin
    warnings = []
    if _many(zero_margin):
        warnings.append(f"{_share(zero_margin)} have no gradient that an attack could follow; trust square and noise")
    if _many(zero_ce):
        warnings.append(f"{_share(zero_ce)} have no gradient of the cross-entropy; trust apgd_t, fab_t and square")
    return warnings


def _zero_gradient(loss: Tensor, x: Tensor) -> Tensor:
    """Return where (n,) the gradient is zero or not finite."""
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True, allow_unused=True)
    if gradient is None:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    size = gradient.flatten(1).abs().sum(1)
    return (size == 0) | ~size.isfinite()


def _many(mask: Tensor) -> bool:
    """Whether more images (n,) are concerned than by coincidence."""
    return bool(mask.sum() > max(1, DEAD_SHARE * len(mask)))


def _share(mask: Tensor) -> str:
    return f"{int(mask.sum())} of {len(mask)} images"


def _chance_warnings(logits: Tensor, y: Tensor, classes: int, custom: bool) -> list[str]:
    n, correct = len(y), int((logits.argmax(1) == y).sum())
    # standard deviation of the number that random guesses get right
    deviation = (n * (classes - 1)) ** 0.5 / classes
    if correct > n / classes + 3 * deviation:
        return []
    hint = "; missing --weights, or --mean and --std?" if custom else ""
    return [f"only {correct} of {n} images are classified correctly, no better than chance{hint}"]


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
