"""AutoAttack's parts in short settings, against small random networks."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG

PARTS = ["apgd_ce", "apgd_t", "fab_t", "square"]
NAMES = [*PARTS, "apgd_l1", "aa"]
EPSILON = {"linf": 0.025, "l2": 0.15, "l1": 1.0}
# the keyword arguments of each attack
SHORT: dict[str, dict[str, Any]] = {
    "apgd_ce": {"steps": 4, "restarts": 1},
    "apgd_dlr": {"steps": 4, "restarts": 1},
    "apgd_t": {"steps": 4, "targets": 9},
    "fab_t": {"steps": 4, "targets": 9},
    "square": {"queries": 25},
    "apgd_l1": {"steps": 4, "restarts": 1},
    "aa": {"steps": 4, "queries": 25, "targets": 9},
}


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


@dataclass
class Setting:
    """An attack with its norm, epsilon and keyword arguments."""

    name: str
    norm: str
    epsilon: float
    kwargs: dict[str, Any]

    @property
    def minimises(self) -> bool:
        return self.name == "fab_t"


def setting(name: str, norm: str = "linf", epsilon: float | None = None, **kwargs: Any) -> Setting:
    norm = "l1" if name == "apgd_l1" else norm
    return Setting(name, norm, epsilon or EPSILON[norm], SHORT[name] | kwargs)


def parts(norm: str, steps: int, queries: int, targets: int) -> list[tuple[str, dict[str, Any]]]:
    """AutoAttack's standard version, whose APGD has other restarts and targets in l1."""
    restarts, apgd_targets = (5, min(targets, 5)) if norm == "l1" else (1, targets)
    return [
        ("apgd_ce", {"norm": norm, "steps": steps, "restarts": restarts, "eot": 1}),
        ("apgd_t", {"norm": norm, "steps": steps, "targets": apgd_targets, "eot": 1}),
        ("fab_t", {"norm": norm, "steps": steps, "targets": targets}),
        ("square", {"norm": norm, "queries": queries}),
    ]


def attack(setting: Setting, model: Any, x: Tensor, y: Tensor) -> AttackResult:
    """Run the attack at its epsilon."""
    budget = {} if setting.minimises else {"epsilon": setting.epsilon}
    kwargs = {"parts": parts(setting.norm, **setting.kwargs)} if setting.name == "aa" else setting.kwargs
    rng = SampleRNG(3, "autoattack", range(len(x)))
    result: AttackResult = registry.load(registry.ATTACKS, setting.name)(
        model, x, y, rng=rng, norm=setting.norm, **budget, **kwargs
    )
    return result
