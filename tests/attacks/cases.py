"""The evaluation attacks that can be imported, each with the knobs of a short run in every norm that it has."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from afdctl import registry
from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.suites import schema

EPSILON = {"linf": 0.1, "l2": 0.8, "l1": 4.0}
SHORT = {"steps": 10, "queries": 100, "targets": 3, "binary_search_steps": 3, "samples": 20, "initial_const": 1.0}
RANDOM = {"apgd_ce", "apgd_t", "apgd_l1", "square", "aa", "noise"}
"""Attacks that draw numbers whatever their knobs; the others do where they have a random start."""


@dataclass
class Case:
    """One attack in one norm."""

    name: str
    norm: str
    knobs: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}-{self.norm}"

    @property
    def minimises(self) -> bool:
        return schema.ATTACKS[self.name].minimises

    @property
    def random(self) -> bool:
        return self.name in RANDOM or self.knobs.get("random_start", False)

    @property
    def by_sample(self) -> bool:
        """Whether a sample's result is its own; AutoAttack's parts draw for a batch."""
        return "autoattack" not in registry.ATTACKS[self.name]

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, draws: SampleRNG | int = 0, **knobs: Any
    ) -> AttackResult:
        attack = registry.load(registry.ATTACKS, self.name)
        draws = SampleRNG(draws, "test", range(len(x))) if isinstance(draws, int) else draws
        given = self.knobs | {"epsilon": EPSILON[self.norm], "draws": draws} | knobs
        taken = signature(attack).parameters
        return attack(model, x, y, **{key: value for key, value in given.items() if key in taken or key in self.knobs})


def cases() -> Iterator[Case]:
    for name, kind in schema.ATTACKS.items():
        if find_spec(registry.ATTACKS[name].split(":")[0]) is None:
            continue
        short = {key: value for key, value in SHORT.items() if key in kind.model_fields}
        for norm in EPSILON:
            try:
                spec = kind(name=name, norm=norm, epsilons=(0, EPSILON[norm]), **short)
            except ValidationError:
                continue  # not a norm of this attack
            yield Case(name, norm, spec.attack_kwargs())


def small_model(classes: int = 5, channels: int = 1) -> nn.Module:
    """A random net for images (n, channels, 8, 8), as attacks get it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, classes)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def images(n: int, channels: int = 1) -> Tensor:
    """Images (n, channels, 8, 8) of which every other pixel is 0 or 1, so that the box matters."""
    x = torch.rand((n, channels, 8, 8), generator=torch.Generator().manual_seed(1))
    return torch.where(torch.arange(8) % 2 == 0, x.round(), x)


def length(delta: Tensor, norm: str) -> Tensor:
    """The norm (n,) of each sample, in double precision."""
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm(delta.double().flatten(1), ord=order, dim=1)


def attack(name: str, model: nn.Module, x: Tensor, y: Tensor, **knobs: Any) -> AttackResult:
    """The attack of this name, with its knobs."""
    found: AttackResult = registry.load(registry.ATTACKS, name)(
        model, x, y, draws=SampleRNG(0, "test", range(len(x))), **knobs
    )
    return found
