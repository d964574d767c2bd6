"""AutoAttack's parts in short settings, against small random networks."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.suites.schema import ATTACKS, AttackConfig

PARTS = ["apgd_ce", "apgd_t", "fab_t", "square"]
NAMES = [*PARTS, "apgd_l1", "aa"]
EPSILON = {"linf": 0.025, "l2": 0.15, "l1": 1.0}
SHORT = {"steps": 4, "queries": 25}


def net(classes: int, channels: int = 1) -> nn.Module:
    """A small random network for images (n, channels, 10, 10), which gives all classes a chance; it wants gradients."""
    torch.manual_seed(classes)
    convolution = nn.Conv2d(channels, 6, 3, 3)
    model = nn.Sequential(
        convolution, nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(54, momentum=None), nn.Linear(54, classes)
    )
    model(torch.rand(500, channels, 10, 10))
    return model.eval()


def images(model: nn.Module, n: int = 24, shape: tuple[int, ...] = (1, 10, 10)) -> tuple[Tensor, Tensor]:
    """Random images, and the labels that the model gives them."""
    x = torch.rand((n, *shape), generator=Generator().manual_seed(1))
    return x, model(x).argmax(1)


def spec(name: str, norm: str = "linf", epsilon: float | None = None, **knobs: Any) -> AttackConfig:
    short = {key: value for key, value in SHORT.items() if key in ATTACKS[name].model_fields}
    norm = "l1" if name == "apgd_l1" else norm
    return ATTACKS[name](name=name, norm=norm, epsilons=(0.0, epsilon or EPSILON[norm]), **short | knobs)


def attack(spec: AttackConfig, model: Any, x: Tensor, y: Tensor) -> AttackResult:
    """What the attack finds at the one epsilon of its specification."""
    budget = {} if spec.minimises else {"epsilon": spec.epsilons[1]}
    draws = SampleRNG(3, "autoattack", range(len(x)))
    found: AttackResult = registry.load(registry.ATTACKS, spec.name)(
        model, x, y, draws=draws, **budget, **spec.attack_kwargs()
    )
    return found
