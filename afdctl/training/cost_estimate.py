"""Estimate the cost of a training step before training starts, on a separate copy of the network."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Generator, Tensor

from afdctl import registry
from afdctl.defenses.base import Defense
from afdctl.defenses.build import make_defense
from afdctl.defenses.step_phases import PhaseCounter, StepPhases
from afdctl.models.cost import CostEstimate, FlopCounter, ceiling_dtype, matmul_rate
from afdctl.models.feature_classifier import FeatureClassifier, build, set_performance
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.runs.provenance import with_precisions
from afdctl.training.adversary import Adversary

# The fewest images that BatchNorm can train on; FLOP are proportional to the batch size.
COUNTED_IMAGES: Final = 2
# for `with_precisions`
FLOAT32: Final = {"attack": "float32", "train": "float32"}


class ImageBatch(NamedTuple):
    """Random images x (n, c, h, w) and labels y (n,); a step costs the same on any images."""

    x: Tensor
    y: Tensor
    classes: int

    def head(self, n: int) -> "ImageBatch":
        """Return the first n images."""
        return ImageBatch(self.x[:n], self.y[:n], self.classes)


def random_batch(n: int, shape: Sequence[int], classes: int, device: torch.device) -> ImageBatch:
    """Draw n images of shape (c, h, w) from a separate generator."""
    x = torch.rand((n, *shape), generator=Generator().manual_seed(0))
    return ImageBatch(x.to(device), (torch.arange(n) % classes).to(device), classes)


def with_train_settings(recipe: Recipe, **settings: Any) -> Recipe:
    """Return the recipe with other values in its [train] table."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=settings)})


def attack_for(attack: AdversaryConfig, defense: str, steps: int) -> AdversaryConfig:
    """Return the recipe's attack with `steps` steps; TRADES always uses pgd_kl, other defenses never."""
    needed = registry.describe(registry.DEFENSES, defense).adversary
    if needed and attack.name != needed:
        return attack.model_copy(update={"name": needed, "step_size": None, "steps": steps})
    if not needed and attack.name in {entry.adversary for entry in registry.DEFENSES.values()}:
        return attack.model_copy(update={"name": "pgd", "steps": steps})
    return attack.model_copy(update={"steps": steps})


def build_network(recipe: Recipe, images: ImageBatch) -> FeatureClassifier:
    """Build a new network with the recipe's performance settings; weights come from torch's global generator."""
    _, channels, side, _ = images.x.shape
    network = build(**recipe.model.architecture, channels=channels, image_size=side, classes=images.classes)
    network.freeze(recipe.train.freeze)
    network = network.to(images.x.device)
    set_performance(network, recipe.train.precision, recipe.train.compile or None)
    return network


def build_defense(recipe: Recipe, table: Any, attack_steps: int, images: ImageBatch) -> Defense:
    """Build the defense of a [defense] table on a new network of the recipe."""
    network = build_network(recipe, images)
    generator = Generator(images.x.device).manual_seed(0)
    adversary = Adversary(network, attack_for(recipe.attack, table.name, attack_steps), generator)
    defense = make_defense(table, network, adversary, images.classes, generator)
    # with AWP, which may begin after the first epochs
    defense.epoch = recipe.train.epochs
    return defense


def estimate_cost(recipe: Recipe, images: ImageBatch) -> CostEstimate:
    """Count a step with one attack step, and the attack alone with two, which gives the cost of any attack length.

    Uses a separate network and restores torch's global generator. `images` may be as few as two.
    """
    # FLOP do not depend on precision and compilation, and counting is fastest without them
    eager = with_precisions(with_train_settings(recipe, compile=False), FLOAT32)
    with torch.random.fork_rng(devices=[]):
        defense = build_defense(eager, recipe.defense, 1, images)
    flop = {phase: count / len(images.x) for phase, count in count_phases(defense, images).items()}
    one_step, two_steps = flop.pop("attack"), 0
    if one_step:
        generator = Generator(images.x.device).manual_seed(0)
        adversary = Adversary(defense.network, attack_for(recipe.attack, recipe.defense.name, 2), generator)
        with FlopCounter() as counter:
            adversary(images.x[:1], images.y[:1])
        two_steps = counter.flop
    losses = {phase: flop[phase] for phase in "CDF"}
    return CostEstimate(attack_start=2 * one_step - two_steps, attack_step=two_steps - one_step, losses=losses)


def count_phases(defense: Defense, images: ImageBatch) -> dict[str, float]:
    """Take one step and return its FLOP by phase."""
    counter = FlopCounter()
    phases = PhaseCounter(lambda: counter.flop)
    with StepPhases(defense, phases.switch), counter:
        defense.step(images.x, images.y)
        phases.switch("optimizer")
    return phases.by_phase


def cost_event(recipe: Recipe, shape: Sequence[int], classes: int, device: torch.device) -> dict[str, Any]:
    """Return the fields of the journal's `cost` event for images of shape (c, h, w).

    `flop` of a step with all attack steps by phase, `attack_step_flop` of one attack step, the FLOP/s of a matrix
    product in the attack's precision, and `floor_seconds`, the minimum time of a step at the rates of its precisions.
    """
    estimate = estimate_cost(recipe, random_batch(COUNTED_IMAGES, shape, classes, device))
    batch_size = recipe.train.batch_size
    flop = {phase: round(batch_size * count) for phase, count in estimate.flop(recipe.attack.steps).items()}
    dtypes = ceiling_dtypes(recipe, device)
    rates = {dtype: matmul_rate(device, DTYPES[dtype]) for dtype in set(dtypes.values())}
    return {
        "flop": flop,
        "attack_step_flop": round(batch_size * estimate.attack_step),
        "batch_size": batch_size,
        "product_flop_per_s": rates[dtypes["attack"]],
        "dtype": dtypes["attack"],
        "floor_seconds": sum(count / rates[dtype_of(phase, dtypes)] for phase, count in flop.items()),
    }


def ceiling_dtypes(recipe: Recipe, device: torch.device) -> dict[str, str]:
    """Return the dtype whose matrix product bounds the passes of each table with a precision; see `ceiling_dtype`."""
    return {table: ceiling_dtype(getattr(recipe, table).precision, device) for table in ("attack", "train")}


def dtype_of(phase: str, dtypes: Mapping[str, str]) -> str:
    """Return the dtype of a step's phase; `dtypes` are those of `ceiling_dtypes`."""
    return dtypes["attack" if phase == "attack" else "train"]
