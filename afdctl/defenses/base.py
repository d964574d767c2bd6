"""What every defense is: modules, optimizers, and `step`, which trains on one batch and reports figures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe.schema import Defense as DefenseTable

FUSED = ("cpu", "cuda", "mps", "xpu")
Report = dict[str, Tensor]
"""The figures of one step: 0-dim tensors without gradients, still on the device."""
Attacker = Callable[[Tensor, Tensor], Tensor]
"""(x, y) to x', against the network as it is."""


class Defense(ABC):
    """A way to train a network. `modules` and `optimizers` are all the state that a checkpoint must hold.

    `noise` serves the draws that a defense makes itself.
    """

    def __init__(
        self, table: DefenseTable, network: FeatureClassifier, adversary: Attacker, classes: int, noise: Generator
    ) -> None:
        self.table: Any = table
        self.network = network
        self.adversary = adversary
        self.modules: dict[str, nn.Module] = {"network": network}
        self.optimizers: dict[str, Optimizer] = {"C": self.sgd("C", network.parameters())}

    @abstractmethod
    def step(self, x: Tensor, y: Tensor) -> Report:
        """Train on images x (n, c, h, w) in [0, 1] with labels y (n,); report losses, accuracies, gradient norms."""

    def sgd(self, which: str, parameters: Iterable[nn.Parameter]) -> SGD:
        """The optimizer of L_C, L_D or L_F by the recipe's rate, momentum and decay."""
        lr, momentum, decay = (getattr(self.table, f"{key}_{which}") for key in ("lr", "momentum", "weight_decay"))
        trained = list(parameters)
        return SGD(trained, lr=lr, momentum=momentum, weight_decay=decay, fused=fusible(trained))

    def set_lr_factor(self, factor: float) -> None:
        """Set every rate to the recipe's times `factor`."""
        for which, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = getattr(self.table, f"lr_{which}") * factor

    def rates(self) -> dict[str, float]:
        """The present rate of each optimizer."""
        return {f"lr_{which}": optimizer.param_groups[0]["lr"] for which, optimizer in self.optimizers.items()}

    def descend_C(self, loss: Tensor) -> Tensor:
        """One step of theta and phi down `loss`; returns the norm of its gradient."""
        gradients = gradients_of(loss, self.network)
        return apply_gradients(self.optimizers["C"], gradients)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return self.modules | {f"optimizer_{which}": optimizer for which, optimizer in self.optimizers.items()}


def fusible(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether torch has a fused update for where the parameters are; it refuses one elsewhere."""
    return all(parameter.device.type in FUSED for parameter in parameters)


def gradients_of(loss: Tensor, module: nn.Module, retain_graph: bool = False) -> Sequence[Tensor]:
    """The gradients of a loss with respect to a module's parameters, leaving `.grad` alone."""
    return torch.autograd.grad(loss, list(module.parameters()), retain_graph=retain_graph)


def apply_gradients(optimizer: Optimizer, gradients: Sequence[Tensor]) -> Tensor:
    """One step of the optimizer's parameters, in order, along the gradients; returns their total norm."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # fused optimizers take both for the same layout, and torch.autograd.grad does not promise that
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    optimizer.step()
    optimizer.zero_grad()
    return nn.utils.get_total_norm(gradients)
