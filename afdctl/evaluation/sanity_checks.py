"""Whether a model can be attacked at all, and whether attacks on it will mean what they seem to mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from afdctl.attacks.query_counter import seed_global_rng
from afdctl.errors import AfdctlError, RecipeError, fit_in_memory, out_of_memory
from afdctl.formatting import one_line_error
from afdctl.models.precision import MixedPrecision
from afdctl.models.user_model import UserModel

VERSION = 1
"""Raise it when the checks change, so that warnings from before do not pass for new ones."""
CHECKED = 128
"""Test images that a model is checked with."""
UNSTABLE = 1e-4
"""Largest distance of the normalised logits of two forward passes (AutoAttack's check of randomised defenses)."""
OTHER_IN_A_BATCH = 1e-2
"""Largest difference of the probabilities of an image alone and within a batch; TF32 rounds each batch differently."""
ALONE = 8
"""Images that are also fed one by one."""
ROUNDING = 1e-4
"""How far a fingerprint may be off, as a share of its largest number, and still be of the same model.

Other threads, devices and versions of torch sum float32 in another order: 1e-6 measured on the CPU. Rounding the
numbers and comparing for equality would not do: some of a hundred always lie at the edge of two rounded values.
"""
NOISE = 3
"""How often the difference of two passes of a random model a fingerprint may be off too."""
DEAD_SHARE = 0.01
SUM_TOLERANCE = 1e-3


def check(network: nn.Module, x: Tensor, y: Tensor, classes: Sequence[str]) -> list[str]:
    """Feed x (n, c, h, w) in [0, 1] with labels y (n,), a hundred or so, and return one-line warnings.

    RecipeError where the model cannot be attacked: it rejects the images, or returns anything but finite logits
    (n, classes). Its modes, gradients and all of torch's generators are left as they were.
    """
    came_training = any(part.training for part in network.modules())
    with _undisturbed(network, x.device):
        logits = _forward(network, x)
        _check_output(logits, len(x), len(classes))
        warnings = ["the model is in training mode; attacks see it in evaluation mode"] if came_training else []
        warnings += _probabilities(logits)
        unstable = _random(network, x, logits)
        # a random model gives other figures for an image alone too, for which its batch is not to blame
        warnings += unstable or _batch_dependent(network, x, logits)
        warnings += _dead_gradients(network, x, y)
        warnings += _chance(logits, y, len(classes), isinstance(network, UserModel))
    return warnings


def fingerprint(network: nn.Module, x: Tensor, classes: int) -> list[float]:
    """One number for each image x (n, c, h, w): a fixed mix of its logits. Errors: those of `check`.

    It tells two models apart that share code and tensors, but not all that their outputs depend on: plain attributes,
    files that they read, globals.
    """
    with (
        _undisturbed(network, x.device),
        seed_global_rng(0, x.device),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        logits = _forward(network, x)
    _check_output(logits, len(x), classes)
    mix = torch.arange(1, classes + 1, dtype=torch.float64).cos()
    numbers: list[float] = (logits.double().cpu() @ mix).tolist()
    return numbers


def agrees(network: nn.Module, x: Tensor, classes: int, known: Sequence[float]) -> bool:
    """Whether the network gives the images the fingerprint `known`, apart from rounding and its own noise."""
    expected, now = torch.tensor(known), torch.tensor(fingerprint(network, x, classes))
    if expected.shape != now.shape:
        return False
    off, allowed = (now - expected).abs().max(), ROUNDING * expected.abs().max()
    if off <= allowed:
        return True
    noise = (now - torch.tensor(fingerprint(network, x, classes))).abs().max()
    return bool(off <= allowed + NOISE * noise)


def check_precision(network: nn.Module, x: Tensor, precision: str) -> None:
    """Feed images x (n, c, h, w) as a search would; RecipeError where the model computes in float32 alone."""
    try:
        with _undisturbed(network, x.device), torch.no_grad():
            MixedPrecision(network, precision=precision)(x)
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = one_line_error(error)
        raise RecipeError(f"--precision {precision}: the model cannot compute in it: {reason}") from error


@contextmanager
def _undisturbed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode inside; modes and generators are put back."""
    modes = [(part, part.training) for part in network.modules()]
    own = [device] if device.type == "cuda" else []
    network.eval()
    try:
        with torch.random.fork_rng(devices=own):
            yield
    finally:
        for part, training in modes:
            part.training = training


@torch.no_grad()
def _forward(network: nn.Module, x: Tensor) -> Tensor:
    def forward(size: int) -> Any:
        return network(x) if size == len(x) else torch.cat([network(part) for part in torch.split(x, size)])

    try:
        logits: Tensor = fit_in_memory(forward, len(x))
    except Exception as error:
        if out_of_memory(error) or type(error) is AfdctlError:
            raise
        raise RecipeError(
            f"the model rejects images of shape {_shape(x)}: {one_line_error(error.__cause__ or error)}"
        ) from error
    return logits


def _shape(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"


def _check_output(logits: object, n: int, classes: int) -> None:
    if not isinstance(logits, Tensor):
        raise RecipeError(f"the model returns a {type(logits).__name__}, not a tensor of logits ({n}, {classes})")
    if logits.dim() == 2 and len(logits) == n and logits.shape[1] != classes:
        raise RecipeError(f"the model tells {logits.shape[1]} classes apart, the data set has {classes}")
    if logits.shape != (n, classes):
        raise RecipeError(f"the model returns a tensor of shape {_shape(logits)}, not logits ({n}, {classes})")
    if not logits.is_floating_point():
        raise RecipeError(f"the model returns {logits.dtype} values, not logits, so attacks have no gradient")
    if broken := int((~logits.isfinite()).any(1).sum()):
        raise RecipeError(f"the model returns NaN or infinity for {broken} of {n} images")


def _probabilities(logits: Tensor) -> list[str]:
    sums_to_1 = (logits.sum(1) - 1).abs().max() < SUM_TOLERANCE
    if not (sums_to_1 and logits.min() >= 0 and logits.max() <= 1):
        return []
    return ["the outputs are probabilities, whose gradients vanish; leave the softmax out, or return their logarithm"]


def _random(network: nn.Module, x: Tensor, logits: Tensor) -> list[str]:
    first, second = (z / z.norm(dim=1, keepdim=True).clamp_min(1e-12) for z in (logits, _forward(network, x)))
    if (first - second).norm(dim=1).max() <= UNSTABLE:
        return []
    return ["two passes of the same images differ: the model is random, so its robust accuracy is overestimated"]


def _batch_dependent(network: nn.Module, x: Tensor, logits: Tensor) -> list[str]:
    alone = torch.cat([_forward(network, image) for image in torch.split(x[:ALONE], 1)])
    if alone.shape == logits[:ALONE].shape:
        difference = (softmax(alone, 1) - softmax(logits[:ALONE], 1)).abs().max()
        if difference <= OTHER_IN_A_BATCH:
            return []
    return ["an image's outputs depend on its batch, so figures change with the batch size"]


def _dead_gradients(network: nn.Module, x: Tensor, y: Tensor) -> list[str]:
    """Images without a gradient of the cross-entropy, or of the margin, that an attack could follow.

    A gradient counts however small it is, as attacks take steps of fixed length: a confident model's is tiny where its
    probability is 1 in float32, and still points the right way. It is 0 where the exponential of the margin underflows.
    """

    @torch.enable_grad()
    def flat(size: int) -> list[tuple[Tensor, Tensor]] | None:
        found = []
        for images, labels in zip(torch.split(x, size), torch.split(y, size), strict=True):
            leaf = images.detach().requires_grad_()
            logits: Tensor = network(leaf)
            if not logits.requires_grad:
                return None
            ce = _flat(cross_entropy(logits, labels, reduction="sum"), leaf)
            found.append((ce, _flat(margins(logits, labels).sum(), leaf)))
        return found

    parts = fit_in_memory(flat, len(x))
    if parts is None:
        return ["the outputs have no gradient with respect to the image; attacks that follow one find nothing"]
    flat_ce, flat_margin = (torch.cat(of_parts) for of_parts in zip(*parts, strict=True))
    flat_ce &= ~flat_margin
    found = []
    if _many(flat_margin):
        found.append(f"{_share(flat_margin)} have no gradient that an attack could follow; trust square and noise")
    if _many(flat_ce):
        found.append(f"{_share(flat_ce)} have no gradient of the cross-entropy; trust apgd_t, fab_t and square")
    return found


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of the class y (n,) minus the largest other one: (n,)."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(1, y[:, None], True)
    return logits[own] - logits.masked_fill(own, -torch.inf).amax(1)


def _flat(loss: Tensor, x: Tensor) -> Tensor:
    """(n,) bool: whose gradient is zero or not finite."""
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True, allow_unused=True)
    if gradient is None:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    size = gradient.flatten(1).abs().sum(1)
    return (size == 0) | ~size.isfinite()


def _many(which: Tensor) -> bool:
    """Whether so many of (n,) that it is no coincidence."""
    return bool(which.sum() > max(1, DEAD_SHARE * len(which)))


def _share(which: Tensor) -> str:
    return f"{int(which.sum())} of {len(which)} images"


def _chance(logits: Tensor, y: Tensor, classes: int, custom: bool) -> list[str]:
    n, right = len(y), int((logits.argmax(1) == y).sum())
    spread = (n * (classes - 1)) ** 0.5 / classes  # standard deviation of the number that a guess gets right
    if right > n / classes + 3 * spread:
        return []
    guess = "; missing --weights, or --mean and --std?" if custom else ""
    return [f"{right} of {n} images are classified rightly, as if by chance{guess}"]
