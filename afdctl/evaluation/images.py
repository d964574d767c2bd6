"""Attack given images with any torch module, without a run: what `afdctl.attack` does in a notebook."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult, Model
from afdctl.errors import RecipeError
from afdctl.evaluation.batch import PreparedModel, scatter_to_batch, search
from afdctl.evaluation.faults import check_counts, count_faults
from afdctl.evaluation.outputs import check_output, forward, preserved_state
from afdctl.evaluation.time_estimate import default_batch_size
from afdctl.evaluation.verify import predict, verify
from afdctl.formatting import with_article
from afdctl.runs.curves import fault_warnings
from afdctl.suites.attack_config import AttackConfig

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(repr=False)
class VerifiedResult(AttackResult):
    """What an attack found for n images, verified: x' is in its ball and in [0, 1], and was classified again.

    Besides the fields of `AttackResult`: prediction (n,) is the class of x'; success (n,) is true where x or x' is
    misclassified; distance (n,) is the norm of x' - x where that fools the model, 0 where x itself is misclassified,
    and inf where the image is robust. x' is x where x is misclassified, as nothing is attacked there.
    """

    prediction: Tensor
    success: Tensor
    distance: Tensor

    @property
    def robust_accuracy(self) -> float:
        """The share of images that are classified correctly, and not fooled within epsilon."""
        return (~self.success).double().mean().item()

    @property
    def clean_accuracy(self) -> float:
        """The share of images that are classified correctly without an attack."""
        return (self.distance > 0).double().mean().item()

    def __repr__(self) -> str:
        accuracies = f"clean_accuracy={self.clean_accuracy:.4f}, robust_accuracy={self.robust_accuracy:.4f}"
        return f"VerifiedResult(n={len(self.x_adv)}, {accuracies})"


def attack_images(
    network: nn.Module, x: Tensor, y: Tensor, spec: AttackConfig, *, seed: int, batch_size: int | None
) -> VerifiedResult:
    """Attack images x (n, c, h, w) in [0, 1] with labels y (n,) at the one epsilon of `spec`, and verify the result.

    Image number i draws what test image i of a sweep with this seed draws. Modes, gradients and torch's generators are
    left as they were. Error: RecipeError for images, labels or outputs that cannot be attacked.
    """
    images, labels = prepare(network, x, y)
    device = images.device
    with preserved_state(network, device), frozen(network):
        check_labels(labels, classes_of(network, images))
        model = PreparedModel(network, lambda: None)
        numbers = torch.arange(len(images), device=device)
        batches = torch.split(numbers, batch_size or default_batch_size(device))
        parts = [_attack_part(network, model, images, labels, spec, batch, seed) for batch in batches]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    result = VerifiedResult(**{name: tensor.to(x.device) for name, tensor in joined.items()})
    faults, epsilon = count_faults(result.fault, result.forwards), spec.epsilons[-1]
    check_counts(spec, faults, epsilon, correct=int((result.distance > 0).sum()))
    for message in fault_warnings([{"attack": spec.title, "epsilon": epsilon, "n": len(x), "faults": faults}]):
        # in the line of the caller of `afdctl.attack`, where Python shows it once
        warnings.warn(message, stacklevel=4)
    return result


def _attack_part(
    network: nn.Module, model: Model, x: Tensor, y: Tensor, spec: AttackConfig, numbers: Tensor, seed: int
) -> VerifiedResult:
    """Attack and verify the images with these numbers (m,), on the device of the network."""
    x, y, (epsilon,) = x[numbers], y[numbers], spec.epsilons[1:]
    clean = predict(network, x, spec.evaluations)
    attacked = clean == y
    found = search(spec, model, x[attacked], y[attacked], seed=seed, numbers=numbers[attacked].tolist())
    result = scatter_to_batch(attacked, x, found)[epsilon]
    verified = verify(
        network,
        x,
        y,
        result.x_adv,
        clean=clean,
        claimed=result.fooled,
        epsilon=epsilon,
        norm=spec.norm,
        evaluations=spec.evaluations,
    )
    return VerifiedResult(
        **vars(result) | {"x_adv": verified.x_adv},
        prediction=verified.prediction,
        success=~verified.robust,
        distance=verified.distance(attacked),
    )


def prepare(network: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Check images and labels, and return them as float32 and int64 on the network's device."""
    check_tensors(x, y)
    device = next((parameter.device for parameter in network.parameters()), x.device)
    return x.detach().to(device, torch.float32), y.to(device, torch.int64)


def check_tensors(x: object, y: object) -> None:
    """Raise RecipeError for images and labels that are not what an attack takes."""
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise RecipeError(f"{name}: must be a torch.Tensor, not {with_article(type(value).__name__)}")
    assert isinstance(x, Tensor)
    assert isinstance(y, Tensor)
    if x.dim() != 4 or not len(x):
        raise RecipeError(f"x: must be images (n, c, h, w), not a tensor of shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise RecipeError(f"x: must be floats in [0, 1], not {_dtype(x)}; divide 8-bit images by 255")
    if not x.isfinite().all():
        raise RecipeError("x: has NaN or infinite values")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        remedy = "let the model normalise them" if low < 0 else "divide them by their largest possible value"
        raise RecipeError(f"x: values are from {low:.4g} to {high:.4g}, images are in [0, 1]; {remedy}")
    if y.shape != x.shape[:1]:
        raise RecipeError(f"y: must be {len(x)} labels, one for each image, not a tensor of shape {tuple(y.shape)}")
    if y.dtype not in INTEGERS:
        raise RecipeError(f"y: must be class numbers, such as int64, not {_dtype(y)}")


def check_labels(y: Tensor, classes: int) -> None:
    """Raise RecipeError for labels outside 0 to `classes` - 1."""
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise RecipeError(f"y: labels are from {low} to {high}, the model has classes 0 to {classes - 1}")


def classes_of(network: nn.Module, x: Tensor) -> int:
    """Return the number of classes of a network that takes these images. Error: RecipeError for other outputs."""
    logits = forward(network, x[:2])
    classes = logits.shape[-1] if isinstance(logits, Tensor) and logits.dim() == 2 else 0
    check_output(logits, len(x[:2]), classes)
    if classes < 2:
        raise RecipeError(f"the model has {classes} classes; adversarial images need two")
    return classes


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Spare attacks the gradients of the weights inside."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad = False
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad = True


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
