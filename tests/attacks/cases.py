"""The evaluation attacks, each with the keyword arguments of a short run in every norm that it has."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from afdctl import registry
from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.short import parts

EPSILON = {"linf": 0.1, "l2": 0.8, "l1": 4.0}
STEPS = {"steps": 10, "step_size": None, "rel_step": 0.25, "early_stop": True}
PGD = STEPS | {"random_start": True, "restarts": 1}
CW = {"step_size": 0.01, "binary_search_steps": 3, "initial_const": 1.0, "confidence": 0.0, "abort_early": True}
# name: (norms, keyword arguments); a norm is passed where the attack has that parameter
SHORT: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "fgsm": (("linf",), {"random_start": False}),
    "pgd_linf": (("linf",), PGD),
    "pgd_l2": (("l2",), PGD),
    "pgd_l1": (("l1",), PGD),
    "mim": (("linf",), STEPS | {"decay": 1.0}),
    "ddn": (("l2",), {"steps": 10, "init_epsilon": 1.0, "gamma": 0.05}),
    "deepfool": (("linf", "l2"), {"steps": 10, "candidates": 10, "overshoot": 0.02}),
    "cw": (("l2",), {"steps": 10, **CW}),
    "aa": (("linf", "l2", "l1"), {"parts": {"steps": 10, "queries": 100, "targets": 3}}),
    "apgd_ce": (("linf", "l2", "l1"), {"steps": 10, "restarts": 1}),
    "apgd_dlr": (("linf", "l2", "l1"), {"steps": 10, "restarts": 1}),
    "apgd_t": (("linf", "l2", "l1"), {"steps": 10, "targets": 3}),
    "fab_t": (("linf", "l2", "l1"), {"steps": 10, "targets": 3}),
    "square": (("linf", "l2", "l1"), {"queries": 100}),
    "apgd_l1": (("l1",), {"steps": 10, "restarts": 1}),
    "noise": (("linf", "l2"), {"samples": 20}),
    "surrogate": (("linf", "l2"), {"steps": 5, "epochs": 2, "noise": 0.1, "images": 100}),
}
MINIMUM_NORM = {"ddn", "deepfool", "cw", "fab_t"}
# attacks that draw numbers in any case; the others do with a random start
RANDOM = {"apgd_ce", "apgd_dlr", "apgd_t", "apgd_l1", "square", "aa", "noise", "surrogate"}
# attacks that run through AutoAttack's library, most of which draw for a whole batch
LIBRARY = {"apgd_ce", "apgd_dlr", "apgd_t", "apgd_l1", "square", "aa", "fab_t"}


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
        return self.name in MINIMUM_NORM

    @property
    def random(self) -> bool:
        return self.name in RANDOM or self.knobs.get("random_start", False)

    @property
    def by_sample(self) -> bool:
        """Whether a sample's result is independent of its batch."""
        # without a substitute that is given, a surrogate is distilled on the batch
        return self.name not in LIBRARY and self.name != "surrogate"

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, rng: SampleRNG | int = 0, **knobs: Any) -> AttackResult:
        attack = registry.load(registry.ATTACKS, self.name)
        rng = SampleRNG(rng, "test", range(len(x))) if isinstance(rng, int) else rng
        given = self.knobs | {"epsilon": EPSILON[self.norm], "rng": rng} | knobs
        taken = signature(attack).parameters
        return attack(model, x, y, **{key: value for key, value in given.items() if key in taken or key in self.knobs})


def cases() -> Iterator[Case]:
    assert SHORT.keys() == registry.ATTACKS.keys()
    for name, (norms, knobs) in SHORT.items():
        for norm in norms:
            own = knobs if name.startswith("pgd_") else knobs | {"norm": norm}
            yield Case(name, norm, own | ({"parts": parts(norm, **own["parts"])} if name == "aa" else {}))


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
    """Run the attack of this name with these keyword arguments."""
    result: AttackResult = registry.load(registry.ATTACKS, name)(
        model, x, y, rng=SampleRNG(0, "test", range(len(x))), **knobs
    )
    return result
