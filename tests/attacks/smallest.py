"""Minimum-norm attacks as a sweep calls them, and models for their tests."""

from typing import Any

import torch
from torch import Tensor, nn

from afdctl import registry
from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG

ATTACKS: dict[str, dict[str, Any]] = {
    "ddn": {"norm": "l2", "steps": 60, "init_epsilon": 1.0, "gamma": 0.05},
    "deepfool l2": {"norm": "l2", "steps": 50, "candidates": 10, "overshoot": 0.02},
    "deepfool linf": {"norm": "linf", "steps": 50, "candidates": 10, "overshoot": 0.02},
    "cw": {
        "norm": "l2",
        "steps": 60,
        "step_size": 0.02,
        "binary_search_steps": 5,
        "initial_const": 0.01,
        "confidence": 0.0,
        "abort_early": True,
    },
}


def attack(name: str, model: Any, x: Tensor, y: Tensor, index: range | None = None, **knobs: Any) -> AttackResult:
    """Run one of ATTACKS; `index` are the numbers of the samples in their split."""
    function = registry.load(registry.ATTACKS, name.split()[0])
    draws = SampleRNG(0, name, index or range(len(x)))
    found: AttackResult = function(model, x, y, rng=draws, **ATTACKS[name] | knobs)
    return found


def length(found: AttackResult, x: Tensor, name: str) -> Tensor:
    """How far x' is from x (n,), in the attack's norm."""
    order = torch.inf if ATTACKS[name]["norm"] == "linf" else 2
    return torch.linalg.vector_norm((found.x_adv - x).double().flatten(1), ord=order, dim=1)


def conv(channels: int = 1, classes: int = 10, dtype: torch.dtype = torch.float) -> nn.Module:
    """A small convolutional network of 8 x 8 images, with BatchNorm, Dropout and trainable parameters."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(64, classes),
    )
    return network.to(dtype).eval()


def images(n: int, channels: int = 1, dtype: torch.dtype = torch.float) -> Tensor:
    """Random images (n, channels, 8, 8) of which a fifth of the pixels are 0 or 1."""
    noise = torch.rand((n, channels, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.double)
    return (1.25 * noise - 0.125).clamp(0, 1).to(dtype)
