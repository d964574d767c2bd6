"""AWP, adversarial weight perturbation (Wu et al. 2020, arXiv:2004.05884), around the step of any defense.

A step is first rehearsed, for the gradient of the defense's losses in the network's weights. Then the weights of every
layer move up that gradient by `awp_gamma` times their norm, the step is made there, and the move is taken back. The
published code has a proxy network and a proxy optimizer for the rehearsal; its learning rate cancels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from afdctl.defenses.base import Defense, Report
from afdctl.errors import RecipeError
from afdctl.recipe.defenses import DefenseConfig
from afdctl.user_code.code import located

# from each parameter of the network to a tensor of its shape
ByParameter = dict[Tensor, Tensor]


def perturbs_weights(table: DefenseConfig, epoch: int) -> bool:
    """Return whether the steps of an epoch, counted from 0, have AWP."""
    return table.awp_gamma > 0 and epoch >= table.awp_warmup_epochs


def with_awp(defense: Defense) -> Callable[[Tensor, Tensor], Report]:
    """Return the defense's step with AWP, from the epoch on that its table names.

    Both passes of a step have the same x', made at the weights without the move. What the rehearsal changes is taken
    back, except that it draws random numbers. Error: RecipeError for a step that moves no weight.
    """
    step, table = defense.step, defense.table

    def perturbed_step(x: Tensor, y: Tensor) -> Report:
        if not perturbs_weights(table, defense.epoch):
            return step(x, y)
        images: list[Tensor] = []
        gradients: ByParameter = {}
        with rehearsal(defense, images, gradients):
            step(x, y)
        if not gradients:
            raise RecipeError(f"{located(table.name)}: step() moves no weight, which defense.awp_gamma needs")
        with replayed(defense, images), moved(worst_move(defense, gradients)):
            return step(x, y)

    return perturbed_step


@contextmanager
def rehearsal(defense: Defense, images: list[Tensor], gradients: ByParameter) -> Iterator[None]:
    """Collect the x' and the gradients of a step, which then changes neither weights nor state.

    Gradients of several losses, such as L_C and L_F, add up as in an update: each times its learning rate.
    """
    adversary, values = defense.adversary, defense.values()
    buffers = [(buffer, buffer.clone()) for module in defense.modules.values() for buffer in module.buffers()]
    kept = {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in values.items()}

    def attack(x: Tensor, y: Tensor) -> Tensor:
        images.append(adversary(x, y))
        return images[-1]

    def collect(optimizer: Optimizer) -> Callable[..., None]:
        def add_gradients(*closure: Any) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        gradient = group["lr"] * parameter.grad
                        gradients[parameter] = gradients[parameter] + gradient if parameter in gradients else gradient

        return add_gradients

    # a profiler may have replaced `step` too
    steps = [(optimizer, vars(optimizer).pop("step", None)) for optimizer in defense.optimizers.values()]
    defense.adversary = attack
    for optimizer, _ in steps:
        vars(optimizer)["step"] = collect(optimizer)
    try:
        yield
    finally:
        defense.adversary = adversary
        for optimizer, own in steps:
            del vars(optimizer)["step"]
            if own is not None:
                vars(optimizer)["step"] = own
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    defense.set_values(kept)


def worst_move(defense: Defense, gradients: Mapping[Tensor, Tensor]) -> ByParameter:
    """Return the move of each layer's weight w: gamma ||w|| g / ||g|| (section 3.2); biases and BatchNorm stay."""
    gamma: float = defense.table.awp_gamma
    weights = [weight for weight in defense.network.parameters() if weight.ndim > 1 and weight in gradients]
    # the smallest number avoids 0 / 0 where no gradient arrives
    tiny = torch.finfo(torch.float32).tiny
    return {
        weight: gamma * weight.detach().norm() / (gradients[weight].norm() + tiny) * gradients[weight]
        for weight in weights
    }


@contextmanager
def replayed(defense: Defense, images: list[Tensor]) -> Iterator[None]:
    """Let the adversary return these x' in turn."""
    adversary, rest = defense.adversary, iter(images)
    defense.adversary = lambda x, y: next(rest)
    try:
        yield
    finally:
        defense.adversary = adversary


@contextmanager
def moved(moves: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Add each weight's move inside the block, and subtract it afterwards, also from a weight that was updated."""
    _add(moves, 1)
    try:
        yield
    finally:
        _add(moves, -1)


@torch.no_grad()
def _add(moves: Mapping[Tensor, Tensor], sign: int) -> None:
    for weight, move in moves.items():
        weight.add_(move, alpha=sign)
