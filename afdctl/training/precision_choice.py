"""Replace `auto` in a recipe's precisions by what is faster on this device, before the training starts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import autograd
from torch.nn.functional import cross_entropy

from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.native_precision import AUTO, MEASURED_IMAGES, choose_precision
from afdctl.models.precision import set_precision
from afdctl.recipe import Recipe
from afdctl.runs.provenance import with_precisions
from afdctl.training.cost_estimate import ImageBatch, build_network, random_batch, with_train_settings
from afdctl.user_code.global_state import preserved


def find_precisions(recipe: Recipe, shape: Sequence[int], classes: int, device: torch.device) -> dict[str, str]:
    """Return the precision of the attack's and of the training's passes, for images of shape (c, h, w).

    What is not `auto` stays. The rest is measured, on a network of its own, in about a second; without compilation. An
    attack that the defense never makes gets float32.
    """
    precisions: dict[str, str] = {"attack": recipe.attack.precision, "train": recipe.train.precision}
    if precisions["attack"] == AUTO and not recipe.descriptor.attacked:
        precisions["attack"] = "float32"
    if AUTO not in precisions.values():
        return precisions
    images = random_batch(min(recipe.train.batch_size, MEASURED_IMAGES), shape, classes, device)
    with preserved():
        network = build_network(with_train_settings(recipe, precision="float32", compile=False), images)
        for name, make_pass in {"attack": attack_pass, "train": training_pass}.items():
            if precisions[name] == AUTO:
                precisions[name] = choose_precision(partial(make_pass, network, images), device)
    return precisions


def with_found_precisions(recipe: Recipe, images: ImageBatch) -> Recipe:
    """Return the recipe with its precisions found on the device and for the shape of images."""
    return with_precisions(recipe, find_precisions(recipe, images.x.shape[1:], images.classes, images.x.device))


def attack_pass(network: FeatureClassifier, images: ImageBatch, precision: str) -> Callable[[], Any]:
    """Return a pass of the attack: forward and backward to the images, in evaluation mode."""
    model, x = FusedModel(network, precision), images.x.clone().requires_grad_()
    return lambda: autograd.grad(cross_entropy(model(x), images.y), x)


def training_pass(network: FeatureClassifier, images: ImageBatch, precision: str) -> Callable[[], Any]:
    """Return a pass of the training: forward and backward to the weights, in training mode."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def run() -> Any:
        set_precision(network.train(), precision)
        return autograd.grad(cross_entropy(network(images.x), images.y), weights, allow_unused=True)

    return run
