"""Times of training steps, taken in turn in one run, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any, Final, NamedTuple

import torch
from torch import Generator, Tensor

from afdctl import data, registry
from afdctl.attacks.adversary import Adversary
from afdctl.bench.published import Published, UnfoldedAdversary
from afdctl.defenses.base import Defense, Report
from afdctl.models.compiled import CAPTURING_MODES
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe import Recipe
from afdctl.recipe.schema import DEFENSES, Attack, Optimized
from afdctl.train.speed import quicken

Step = Callable[[], Report]
# torch.compile runs a call once, captures it at the second, and replays it from the third on
CAPTURE_STEPS: Final = 3
NAMES: Final[Mapping[str, str]] = {"natural": "nt", "adversarial": "at"}
"""What figures call a defense, where that is not its name in a recipe."""
COMPARED: Final = ("afd", "adversarial", "trades")


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

    def head(self, n: int) -> "Batch":
        """The first n images."""
        return Batch(self.x[:n], self.y[:n], self.classes)


def batch(recipe: Recipe, device: torch.device) -> Batch:
    """One batch of the recipe's data set, which need not be on this machine."""
    about = data.dataset(recipe.data.dataset).about
    channels, side, _ = about.shape if about else (recipe.data.channels or 3, recipe.data.image_size or 32, 0)
    side, classes = recipe.data.image_size or side, about.classes if about else 10
    return random_batch(recipe.train.batch_size, (channels, side, side), classes, device)


def random_batch(n: int, shape: Sequence[int], classes: int, device: torch.device) -> Batch:
    """n images of a shape (c, h, w), drawn by a generator of their own."""
    x = torch.rand((n, *shape), generator=Generator().manual_seed(0))
    return Batch(x.to(device), (torch.arange(n) % classes).to(device), classes)


def name_of(recipe: Recipe) -> str:
    """What figures call the recipe's own defense."""
    return NAMES.get(recipe.defense.name, recipe.defense.name)


def tuned(recipe: Recipe, **train: Any) -> Recipe:
    """The recipe with other keys in its [train] table."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


def eager(recipe: Recipe) -> Recipe:
    """The recipe's figures in its precision, by steps that can be looked into: not compiled."""
    return tuned(recipe, compile=False)


def plain(recipe: Recipe) -> Recipe:
    """The same in float32, as the published code's steps are taken."""
    return tuned(eager(recipe), precision="float32")


def defenses(recipe: Recipe, attack_steps: int, images: Batch) -> dict[str, Defense]:
    """The recipe's own defense first, then AFD, AT and TRADES on its network, and AFD as the published code does it.

    All but the last are as fast as the recipe's [train] table makes them.
    """
    names = dict.fromkeys([recipe.defense.name, *COMPARED])
    found = {NAMES.get(name, name): defense(recipe, table_of(recipe, name), attack_steps, images) for name in names}
    return found | {"published": defense(recipe, table_of(recipe, "afd"), attack_steps, images, published=True)}


def table_of(recipe: Recipe, name: str) -> Any:
    """The recipe's [defense] table, or that of another defense with the same optimizer of L_C."""
    if recipe.defense.name == name:
        return recipe.defense
    return DEFENSES[name](name=name, **recipe.defense.model_dump(include=set(Optimized.model_fields) - {"name"}))


def defense(
    recipe: Recipe,
    table: Any,
    attack_steps: int,
    images: Batch,
    *,
    published: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Defense:
    """A defense on a fresh network of the recipe, in the layout that the network chooses or in another."""
    device = images.x.device
    network = network_of(plain(recipe) if published else recipe, images)
    if memory_format is not None:
        network = network.to(memory_format=memory_format)
    noise, attack = Generator(device).manual_seed(0), attack_of(recipe.attack, table.name, attack_steps)
    if published:
        return Published(table, network, UnfoldedAdversary(network, attack, noise), images.classes, noise)
    adversary = Adversary(network, attack, noise)
    made: Defense = registry.load(registry.DEFENSES, table.name)(table, network, adversary, images.classes, noise)
    return made


def attack_of(attack: Attack, defense: str, steps: int) -> Attack:
    """The recipe's adversary with so many steps; TRADES has one of its own, which no other defense can use."""
    if defense == "trades" and attack.name != "pgd_kl":
        return attack.model_copy(update={"name": "pgd_kl", "step_size": None, "steps": steps})
    if defense != "trades" and attack.name == "pgd_kl":
        return attack.model_copy(update={"name": "pgd", "steps": steps})
    return attack.model_copy(update={"steps": steps})


def network_of(recipe: Recipe, images: Batch) -> FeatureClassifier:
    """A fresh network, in the recipe's precision, compiled where the recipe says so.

    Its weights are drawn from torch's global generator.
    """
    _, channels, side, _ = images.x.shape
    network = build(recipe.model, channels=channels, image_size=side, classes=images.classes)
    network = network.to(images.x.device)
    quicken(network, recipe.train)
    return network


def steps(recipe: Recipe, attack_steps: int, device: torch.device) -> dict[str, Step]:
    """One step of each of `defenses`, on one batch."""
    images = batch(recipe, device)
    return {name: step_of(made, images) for name, made in defenses(recipe, attack_steps, images).items()}


def step_of(defense: Defense, images: Batch) -> Step:
    """A step on the batch."""
    return partial(defense.step, images.x, images.y)


def warm_ups(mode: str | bool, device: torch.device) -> int:
    """The steps to take before one is as fast as all others, with the encoder compiled in `mode`."""
    return CAPTURE_STEPS if mode in CAPTURING_MODES and device.type == "cuda" else 1


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_ups: int = 1
) -> dict[str, list[float]]:
    """Seconds of each step in each round, after rounds that warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(warm_ups + rounds):
        for name, step in candidates.items():
            began = time.perf_counter()
            step()
            synchronize(device)
            seconds[name].append(time.perf_counter() - began)
    return {name: times[warm_ups:] for name, times in seconds.items()}


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
