"""Count encoder passes, FLOP and bytes of one training step, without changing its result."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from afdctl.defenses.base import Defense
from afdctl.defenses.step_phases import PHASES, PhaseCounter, StepPhases
from afdctl.models.cost import FlopCounter
from afdctl.models.feature_classifier import FeatureNorm


@dataclass(frozen=True)
class StepCount:
    """Counts of one step: `passes` in forward-equivalents and `flop` by phase, the rest in bytes (see FlopCounter)."""

    passes: dict[str, int]
    flop: dict[str, int]
    traffic: int
    unfused: int
    largest: int

    @property
    def total_flop(self) -> int:
        return sum(self.flop.values())


class PassCounter:
    """Counts encoder passes in forward-equivalents while entered; `count` is the sum.

    A forward pass is 1, a backward pass to the images 1 more, and to the weights another 1 (`to_weights`). Each pass,
    also one of the attack's fused copy of the network, goes through exactly one FeatureNorm.
    """

    def __init__(self) -> None:
        self.to_weights = True
        self.count = 0

    def __enter__(self) -> Self:
        self._handle = nn.modules.module.register_module_forward_hook(self._on_forward)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _on_forward(self, module: nn.Module, args: Any, z: Any) -> None:
        if isinstance(module, FeatureNorm):
            self.count += 1
            if z.requires_grad:
                z.register_hook(self._on_backward)

    def _on_backward(self, gradient: Tensor) -> None:
        self.count += 2 if self.to_weights else 1


def count_step(defense: Defense, x: Tensor, y: Tensor) -> StepCount:
    """Take one step of a defense and count it. x: (n, c, h, w), y: (n,)."""
    operations, encoder_passes = FlopCounter(), PassCounter()
    flop = PhaseCounter(lambda: operations.flop)
    passes = PhaseCounter(lambda: encoder_passes.count)

    def switch(phase: str) -> None:
        flop.switch(phase)
        passes.switch(phase)
        # the attack needs gradients of the images only
        encoder_passes.to_weights = phase != "attack"

    with encoder_passes, StepPhases(defense, switch), operations:
        defense.step(x, y)
        switch("optimizer")
    return StepCount(
        passes={phase: round(passes.by_phase[phase]) for phase in PHASES},
        flop={phase: round(flop.by_phase[phase]) for phase in PHASES},
        traffic=operations.traffic,
        unfused=operations.unfused,
        largest=operations.largest,
    )


def count_forward(network: nn.Module, x: Tensor) -> int:
    """Return the FLOP of one forward pass in evaluation mode."""
    # in training mode the pass would change the running statistics of BatchNorm
    network.eval()
    with torch.no_grad(), FlopCounter() as counter:
        network(x)
    network.train()
    return int(counter.flop)
