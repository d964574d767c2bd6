"""Times of training steps, taken in turn in one run, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from afdctl import data, registry
from afdctl.attacks.adversary import Adversary
from afdctl.bench.published import Published, UnfoldedAdversary
from afdctl.defenses.base import Defense, Report
from afdctl.errors import RecipeError
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Adversarial, Optimized

Step = Callable[[], Report]


class Ratio(NamedTuple):
    """How many times as long one step takes as another: median of the pairs, and their middle half."""

    median: float
    low: float
    high: float


class Batch(NamedTuple):
    """Random images and labels of the recipe's shape: what a step costs does not depend on what they show."""

    x: Tensor
    y: Tensor
    classes: int


def batch(recipe: Recipe, device: torch.device) -> Batch:
    """One batch of the recipe's data set, which need not be on this machine."""
    about = data.dataset(recipe.data.dataset).about
    channels, side, _ = about.shape if about else (recipe.data.channels or 3, recipe.data.image_size or 32, 0)
    side, classes = recipe.data.image_size or side, about.classes if about else 10
    x = torch.rand((recipe.train.batch_size, channels, side, side), generator=Generator().manual_seed(0))
    y = torch.arange(recipe.train.batch_size) % classes
    return Batch(x.to(device), y.to(device), classes)


def steps(recipe: Recipe, attack_steps: int, device: torch.device) -> dict[str, Step]:
    """The recipe's own step, AT's with the same adversary, and AFD's as the published code does it."""
    if recipe.defense.name != "afd":
        raise RecipeError(f"bench measures AFD against AT; this recipe's defense is '{recipe.defense.name}'")
    images = batch(recipe, device)
    attack = recipe.attack.model_copy(update={"steps": attack_steps})
    noise = Generator(device)
    ours, theirs, baseline = (network(recipe, images, device) for _ in range(3))
    afd = registry.load(registry.DEFENSES, "afd")
    at = Adversarial(name="adversarial", **recipe.defense.model_dump(include=set(Optimized.model_fields) - {"name"}))
    defenses: dict[str, Defense] = {
        "afd": afd(recipe.defense, ours, Adversary(ours, attack, noise), images.classes, noise),
        "at": registry.load(registry.DEFENSES, "adversarial")(
            at, baseline, Adversary(baseline, attack, noise), images.classes, noise
        ),
        "published": Published(recipe.defense, theirs, UnfoldedAdversary(theirs, attack, noise), images.classes, noise),
    }
    return {name: partial(defense.step, images.x, images.y) for name, defense in defenses.items()}


def network(recipe: Recipe, images: Batch, device: torch.device) -> FeatureClassifier:
    _, channels, side, _ = images.x.shape
    return build(recipe.model, channels=channels, image_size=side, classes=images.classes).to(device)


def interleaved(candidates: dict[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each step in each round, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, step in candidates.items():
            began = time.perf_counter()
            step()
            synchronize(device)
            seconds[name].append(time.perf_counter() - began)
    return {name: times[1:] for name, times in seconds.items()}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The ratio of two steps, from the pairs of one round each."""
    pairs = [a / b for a, b in zip(numerators, denominators, strict=True)]
    low, _, high = quantiles(pairs, n=4)
    return Ratio(median(pairs), low, high)
