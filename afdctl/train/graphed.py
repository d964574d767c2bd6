"""A training's whole step as one CUDA graph: adversary, losses, gradients, updates and report.

Written without a GPU at hand: on a CUDA device it has not run yet.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from afdctl.attacks.adversary import Adversary
from afdctl.attacks.captured import Captured
from afdctl.defenses.base import Defense, Report


class GraphedStep:
    """Takes a defense's steps, as `Captured` replays them; `generators` are all that a step draws from.

    A rate that is a number would be frozen in the graph, so inside of a step each is a tensor, filled before. Anywhere
    else, as in checkpoints, rates are the optimizers' numbers. Weights and momenta must stay where they lie: what is
    loaded is loaded before the first step.
    """

    def __init__(self, defense: Defense, adversary: Adversary, generators: Sequence[Generator]) -> None:
        self.defense, self.adversary = defense, adversary
        device = defense.network.C_phi.weight.device
        self.rates = [torch.zeros((), device=device) for _ in self.groups()]
        self.names: tuple[str, ...] = ()
        self._captured = Captured(self._figures, generators, "the training step", "set train.graphs = true, or false")

    def groups(self) -> list[dict[str, Any]]:
        """The optimizers' groups of parameters, which are others after a state was loaded."""
        return [group for optimizer in self.defense.optimizers.values() for group in optimizer.param_groups]

    def __call__(self, x: Tensor, y: Tensor) -> Report:
        """One step on a batch; the report is the caller's own."""
        for rate, group in zip(self.rates, self.groups(), strict=True):
            rate.fill_(group["lr"])
        figures = self._captured(x, y, self.adversary.table)
        return dict(zip(self.names, figures.unbind(), strict=True))

    def _figures(self, x: Tensor, y: Tensor) -> Tensor:
        """The report's figures (k,)."""
        with self._rates_on_the_device():
            report = self.defense.step(x, y)
        self.names = tuple(report)
        return torch.stack(list(report.values()))

    @contextmanager
    def _rates_on_the_device(self) -> Iterator[None]:
        numbers = [group["lr"] for group in self.groups()]
        self._set(self.rates)
        try:
            yield
        finally:
            self._set(numbers)

    def _set(self, rates: Sequence[float | Tensor]) -> None:
        for group, rate in zip(self.groups(), rates, strict=True):
            group["lr"] = rate
