"""The base of every defense: modules, optimizers, and `step`, which trains on one batch and reports metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from afdctl import allreduce, losses
from afdctl.defenses.state import has_state, is_value, lost, saved
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe.defenses import Defense as DefenseTable

# device types for which torch has fused optimizers
FUSED_DEVICES: Final = ("cpu", "cuda", "mps", "xpu")
# attributes of `Defense` that are not values, as they are saved otherwise or belong to the trainer
OWN_ATTRIBUTES: Final = ("table", "network", "adversary", "modules", "optimizers", "noise", "first_lrs", "step")
# metrics of one step by name: 0-dim tensors without gradients, still on the device
Report = dict[str, Tensor]
# (x, y) to x', against the network's current weights
Adversary = Callable[[Tensor, Tensor], Tensor]


class Defense(ABC):
    """A method to train a network. `modules` and `optimizers` are the state that a checkpoint holds.

    `table` is the recipe's [defense] table, `classes` the number of classes. `noise` is the generator of the random
    numbers that the defense draws. Of a subclass in a user's file, `make_defense` finds modules and optimizers among
    the attributes; attributes that are values (`defenses.state`) are state too.
    """

    def __init__(
        self, table: DefenseTable, network: FeatureClassifier, adversary: Adversary, classes: int, noise: Generator
    ) -> None:
        self.table: Any = table
        self.network = network
        self.noise = noise
        self.adversary = adversary
        self.modules: dict[str, nn.Module] = {"network": network}
        self.optimizers: dict[str, Optimizer] = {"C": self.sgd("C", network.parameters())}
        # completed epochs, which the trainer sets before each step
        self.epoch = 0

    @abstractmethod
    def step(self, x: Tensor, y: Tensor) -> Report:
        """Train on images x (n, c, h, w) in [0, 1] with labels y. Return losses, accuracies and gradient norms.

        y is int64 (n,). With `data.cutmix` it is float32 (n, classes), rows that sum to 1; `self.L_C`, the adversary,
        D_psi and `metrics.accuracy` take both.
        """

    def L_C(self, logits: Tensor, y: Tensor) -> Tensor:
        """Eq. 7, with the recipe's label smoothing and margin."""
        return losses.L_C(self.with_margin(logits, y), y, self.table.label_smoothing)

    def with_margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Lower the label's logit by the recipe's margin of the cosine; see `losses.with_margin`."""
        return losses.with_margin(logits, y, self.table.margin * (self.network.cosine_scale or 0.0))

    def sgd(self, loss_name: str, parameters: Iterable[nn.Parameter]) -> SGD:
        """Return the optimizer of L_C, L_D or L_F (`loss_name` C, D or F) with the recipe's settings."""
        keys = ("lr", "momentum", "weight_decay", "nesterov")
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        return SGD(trained, **{key: getattr(self.table, f"{key}_{loss_name}") for key in keys}, fused=can_fuse(trained))

    def set_lr_factor(self, factor: float) -> None:
        """Set every learning rate to its first value, the recipe's, times `factor`."""
        for name, optimizer in self.optimizers.items():
            for group, lr in zip(optimizer.param_groups, self._first_lrs(name), strict=True):
                group["lr"] = lr * factor

    def learning_rates(self) -> dict[str, float]:
        """Return the current learning rate of each optimizer, by the recipe's key."""
        return {f"lr_{loss_name}": optimizer.param_groups[0]["lr"] for loss_name, optimizer in self.optimizers.items()}

    def _first_lrs(self, name: str) -> list[float]:
        """Return the learning rates that an optimizer was made with."""
        first: dict[str, list[float]] = vars(self).setdefault("first_lrs", {})
        if name not in first:
            first[name] = [group["lr"] for group in self.optimizers[name].param_groups]
        return first[name]

    def step_classifier(self, loss: Tensor) -> Tensor:
        """Move theta and phi by one step down `loss`. Return the norm of its gradient."""
        return apply_gradients(self.optimizers["C"], gradients_of(loss, self.network))

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()} | {"values": self.values()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # a saved optimizer has the learning rates of its step
        for name in self.optimizers:
            self._first_lrs(name)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.set_values(state.get("values", {}))

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Set attributes to what `values` returned."""
        for name, value in values.items():
            own = getattr(self, name, None)
            if isinstance(own, Generator):
                own.set_state(value)
            elif own is not None and has_state(own):
                own.load_state_dict(value)
            elif isinstance(own, Tensor) and own.is_leaf and own.requires_grad:
                # an optimizer has this very tensor
                own.data.copy_(value)
            else:
                setattr(self, name, value.to(own.device) if isinstance(own, Tensor) else value)

    def values(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the attributes that are values."""
        own = {key: value for key, value in vars(self).items() if key not in OWN_ATTRIBUTES}
        return {key: saved(value) for key, value in own.items() if is_value(value)}

    def lost(self) -> tuple[str, str] | None:
        """Return the name of an attribute that a checkpoint would lose, and what to do; None if there is none."""
        parts = [part for module in self.modules.values() for part in module.modules()]
        tensors = [tensor for part in parts for tensor in (*part.parameters(False), *part.buffers(False))]
        known = set(map(id, [*parts, *tensors, *self.optimizers.values(), *vars(self).values()]))
        own = {key: value for key, value in vars(self).items() if key not in OWN_ATTRIBUTES}
        return next(((key, text) for key, value in own.items() if (text := lost(value, known))), None)

    def _parts(self) -> dict[str, Any]:
        return self.modules | {f"optimizer_{name}": optimizer for name, optimizer in self.optimizers.items()}


def forward_pair(module: nn.Module, x: Tensor, x_adv: Tensor, batch_statistics: str) -> tuple[Tensor, Tensor]:
    """Return a module's outputs on x and x', with BatchNorm's statistics `separate` or `joint`.

    After training, BatchNorm has one running average over both. Only joint statistics train the network as it is used:
    on MNIST at epsilon 0.3 AFD gained 2 points under APGD-T (afdctl's measurement).
    """
    if batch_statistics == "joint":
        output, output_adv = module(torch.cat([x, x_adv])).chunk(2)
        return output, output_adv
    return module(x), module(x_adv)


def can_fuse(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether torch has a fused optimizer for the parameters' device; it refuses one elsewhere."""
    return all(parameter.device.type in FUSED_DEVICES for parameter in parameters)


def gradients_of(loss: Tensor, module: nn.Module, retain_graph: bool = False) -> Sequence[Tensor]:
    """Return the gradients of a loss in a module's parameters that are not frozen, without touching `.grad`."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        return torch.autograd.grad(loss, trained, retain_graph=retain_graph)
    except RuntimeError as error:
        # torch recommends allow_unused, which is no argument here
        if "appears to not have been used" not in str(error):
            raise
        kind = type(module).__name__
        raise ValueError(f"the loss does not depend on all weights of {kind}; it must use its whole output") from None


def apply_gradients(optimizer: Optimizer, gradients: Sequence[Tensor]) -> Tensor:
    """Take one step of the optimizer with these gradients of its parameters, in order. Return their total norm.

    Of a training on several processes, each gives the gradients of its part of the batch.
    """
    gradients = allreduce.reduce_gradients(gradients)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # fused optimizers assume the same memory layout, which torch.autograd.grad does not guarantee
        same_layout = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same_layout else torch.empty_like(parameter).copy_(gradient)
    optimizer.step()
    # frees the gradients before the next attack needs the memory
    optimizer.zero_grad()
    return nn.utils.get_total_norm(gradients)
