"""What a model's outputs show before any attack: whether gradients lead somewhere, and results mean what they seem to.

`measure` has the numbers, which the masking diagnosis judges too (D2 and D3); `describe` turns them into warnings.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from afdctl.attacks.base import margin
from afdctl.data import Dataset
from afdctl.errors import fit_in_memory
from afdctl.evaluation import thresholds
from afdctl.evaluation.outputs import check_images, check_output, forward, preserved_state
from afdctl.evaluation.thresholds import Thresholds
from afdctl.journal import Row
from afdctl.models.user_model import UserModel

# raise it when the checks change, so that earlier warnings do not pass for new ones
VERSION = 3
# images that are also fed one by one
SINGLE_IMAGES = 8
SUM_TOLERANCE = 1e-3
# the step along a gradient that must raise the margin: the smallest change of an 8-bit image
GRADIENT_STEP = 1 / 255
# largest value of the noise that must change a margin
NOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What a check measured on n images; counts of images, except:

    `in_training`, `probabilities` and `no_gradient` hold for the model; `passes` is the largest distance of the
    normalised logits of two passes, `batch` the largest difference of an image's probabilities alone and in a batch;
    `confidence` is the median of the largest probability: 0 where all classes are equally likely, 1 for a certain one.
    """

    n: int
    classes: int
    correct: int
    in_training: bool
    probabilities: bool
    passes: float
    batch: float
    no_gradient: bool
    dead_margin: int
    dead_ce: int
    misled: int
    flat: int
    confidence: float


def run_check(network: nn.Module, dataset: Dataset, device: torch.device, digest: str) -> Row:
    """Check a network on a data set, and return the journal's row. Errors: those of `measure`."""
    x = check_images(dataset, device)
    measures = measure(network, x, dataset.test.y[: len(x)].to(device), dataset.classes)
    custom = isinstance(network, UserModel)
    return {
        "event": "sanity_check",
        "checkpoint": digest,
        "data": dataset.digest,
        "version": VERSION,
        "n": len(x),
        "pixels": x[0].numel(),
        "measures": asdict(measures),
        "warnings": [*(network.warnings if isinstance(network, UserModel) else ()), *describe(measures, custom=custom)],
    }


def check(network: nn.Module, x: Tensor, y: Tensor, classes: Sequence[str]) -> list[str]:
    """Return one-line warnings; see `measure`."""
    return describe(measure(network, x, y, classes), custom=isinstance(network, UserModel))


def measure(network: nn.Module, x: Tensor, y: Tensor, classes: Sequence[str]) -> Measures:
    """Feed the network about a hundred images x (n, c, h, w) in [0, 1] with labels y (n,).

    Modes, gradients and torch's generators are left as they were. Error: RecipeError where the model cannot be
    attacked because it rejects the images or returns anything but finite logits (n, classes).
    """
    # before `preserved_state`, which switches to evaluation mode
    in_training = any(part.training for part in network.modules())
    with preserved_state(network, x.device):
        logits = forward(network, x)
        check_output(logits, len(x), len(classes))
        dead = _dead_gradients(network, x, y)
        gradient, dead_margin, dead_ce = dead or (torch.zeros_like(x), *[torch.ones_like(y, dtype=torch.bool)] * 2)
        margins = margin(logits, y)
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x) * 2 - 1
        raised = margin(forward(network, x + GRADIENT_STEP * gradient.sign()), y) > margins
        chance = 1 / len(classes)
        return Measures(
            n=len(x),
            classes=len(classes),
            correct=int((logits.argmax(1) == y).sum()),
            in_training=in_training,
            probabilities=_are_probabilities(logits),
            passes=_pass_difference(network, x, logits),
            batch=_batch_difference(network, x, logits),
            no_gradient=dead is None,
            dead_margin=int(dead_margin.sum()),
            # an image without either gradient counts once, as the more serious fault
            dead_ce=int((dead_ce & ~dead_margin).sum()),
            misled=int((~dead_margin & ~raised).sum()),
            flat=int((margin(forward(network, (x + NOISE * noise).clamp(0, 1)), y) == margins).sum()),
            confidence=((softmax(logits.double(), 1).amax(1).median() - chance) / (1 - chance or 1)).item(),
        )


def _are_probabilities(logits: Tensor) -> bool:
    sums_to_1 = (logits.sum(1) - 1).abs().max() < SUM_TOLERANCE
    return bool(sums_to_1 and logits.min() >= 0 and logits.max() <= 1)


def _pass_difference(network: nn.Module, x: Tensor, logits: Tensor) -> float:
    first, second = (z / z.norm(dim=1, keepdim=True).clamp_min(1e-12) for z in (logits, forward(network, x)))
    return float((first - second).norm(dim=1).max())


def _batch_difference(network: nn.Module, x: Tensor, logits: Tensor) -> float:
    alone = torch.cat([forward(network, image) for image in torch.split(x[:SINGLE_IMAGES], 1)])
    # a model that squeezes its output loses the batch dimension of a single image
    if alone.shape != logits[:SINGLE_IMAGES].shape:
        return 1.0
    return float((softmax(alone, 1) - softmax(logits[:SINGLE_IMAGES], 1)).abs().max())


def _dead_gradients(network: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the margin's gradient, and where it and that of the cross-entropy are dead (n,); None without gradients.

    A tiny gradient is not dead, as attacks take steps of fixed length: that of a confident model, whose probability is
    1 in float32, still points the right way. It is 0 only where the exponential of the margin underflows.
    """

    @torch.enable_grad()
    def differentiate(size: int) -> list[tuple[Tensor, Tensor, Tensor]] | None:
        parts = []
        for images, labels in zip(torch.split(x, size), torch.split(y, size), strict=True):
            leaf = images.detach().requires_grad_()
            logits: Tensor = network(leaf)
            if not logits.requires_grad:
                return None
            of_margin = _gradient(margin(logits, labels).sum(), leaf)
            of_ce = _gradient(cross_entropy(logits, labels, reduction="sum"), leaf)
            parts.append((of_margin, _is_dead(of_margin), _is_dead(of_ce)))
        return parts

    parts = fit_in_memory(differentiate, len(x))
    if parts is None:
        return None
    gradient, dead_margin, dead_ce = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return gradient, dead_margin, dead_ce


def _gradient(loss: Tensor, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _is_dead(gradient: Tensor) -> Tensor:
    """Return where (n,) a gradient is zero or not finite."""
    size = gradient.flatten(1).abs().sum(1)
    return (size == 0) | ~size.isfinite()


def describe(measures: Measures, *, custom: bool, limits: Thresholds | None = None) -> list[str]:
    """Return a warning of one line for each measure beyond its threshold, the packaged ones by default.

    `custom`: the model is a user's, who may have forgotten its weights.
    """
    limits, n = limits or thresholds.defaults(), measures.n

    def many(count: int, share: float) -> bool:
        return limits.exceeded(count, n, share)

    warnings = ["the model is in training mode; attacks see it in evaluation mode"] if measures.in_training else []
    if measures.probabilities:
        warnings.append(
            "the outputs are probabilities, whose gradients vanish; leave the softmax out, or return their logarithm"
        )
    random = measures.passes > limits.D2.passes
    if random:
        warnings.append(
            "two passes of the same images differ: the model is random, so its robust accuracy is overestimated"
        )
    # a random model's outputs also differ for a single image, whatever its batch
    elif measures.batch > limits.D2.batch:
        warnings.append("an image's outputs depend on its batch, so accuracies change with the batch size")
    flat = many(measures.flat, limits.D3.flat)
    trusted = (
        "surrogate: small noise does not change the margin, so square is blind" if flat else "surrogate and square"
    )
    if measures.no_gradient:
        warnings.append(f"the outputs have no gradient with respect to the image; trust {trusted}")
    elif many(measures.dead_margin, limits.D3.dead):
        images = f"{measures.dead_margin} of {n} checked images"
        warnings.append(f"{images} have no gradient that an attack could follow; trust {trusted}")
    elif flat:
        warnings.append(
            f"small noise does not change the margin of {measures.flat} of {n} checked images; trust surrogate"
        )
    if not random and many(measures.misled, limits.D3.misled):
        warnings.append(f"the gradients of {measures.misled} of {n} checked images lead downhill; trust {trusted}")
    if not measures.no_gradient and many(measures.dead_ce, limits.D3.dead):
        images = f"{measures.dead_ce} of {n} checked images"
        warnings.append(f"{images} have no gradient of the cross-entropy; trust apgd_t, fab_t and square")
    return warnings + _accuracy_warnings(measures, limits, custom)


def _accuracy_warnings(measures: Measures, limits: Thresholds, custom: bool) -> list[str]:
    n, classes, correct = measures.n, measures.classes, measures.correct
    # standard deviation of the number that random guesses get right
    deviation = (n * (classes - 1)) ** 0.5 / classes
    if correct <= n / classes + 3 * deviation:
        hint = "; missing --weights, or --mean and --std?" if custom else ""
        return [f"only {correct} of {n} checked images are classified correctly, no better than chance{hint}"]
    if measures.confidence < limits.D3.confidence and not measures.probabilities:
        return ["all classes are about equally likely, so the cross-entropy misleads attacks; trust apgd_t and fab_t"]
    return []
