"""Call a user's attack on a batch: count its passes, keep global state, and take nothing but its x'."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.attacks.base import FAULTS, NOT_FOUND, AttackResult, Model, is_misclassified
from afdctl.attacks.norms import clip_to_ball, per_sample
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.errors import RecipeError
from afdctl.formatting import with_article
from afdctl.user_code.function import UserFunction
from afdctl.user_code.global_state import preserved


class AttackedModel:
    """What a user's attack gets as its model: images (m, c, h, w) in [0, 1] to logits (m, classes), with gradients.

    `network` is the torch module behind it, for attacks on features. Passes of either, inside `counting`, are spread
    evenly over the n samples of the batch.
    """

    def __init__(self, model: Model, n: int) -> None:
        self._model, self._n = model, n
        self.network: Any = getattr(model, "network", model)
        self.forwards = self.backwards = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        before = self.forwards
        logits = self._model(x)
        # a folded copy of the network, which has no hook
        if self.forwards == before:
            self._count(logits)
        return logits

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the passes of the network, or of its features where it has them."""
        part = getattr(self.network, "F_theta", self.network)
        hook = part.register_forward_hook(lambda *call: self._count(call[-1])) if isinstance(part, nn.Module) else None
        try:
            yield
        finally:
            if hook:
                hook.remove()

    def _count(self, output: Tensor) -> None:
        share = len(output) / self._n
        self.forwards += share
        if output.requires_grad:
            output.register_hook(lambda _: self._count_backward(share))  # type: ignore[no-untyped-call]

    def _count_backward(self, share: float) -> None:
        self.backwards += share


def run_user_attack(
    function: UserFunction,
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    rng: SampleRNG,
    epsilon: float | None,
    norm: str,
    settings: Mapping[str, Any],
) -> AttackResult:
    """Attack images x (n, c, h, w) with labels y (n,) at one epsilon, or without a budget (epsilon None).

    x' is clipped to its ball and to [0, 1] and classified, which alone decides what fooled the model. Error:
    RecipeError, with the user's file and line, for an attack that raises, returns no x', or changes the network.
    """
    if not len(x):
        return AttackResult.empty(x)
    attacked = AttackedModel(model, len(x))
    given = {"epsilon": epsilon, "norm": norm, "rng": rng}
    arguments = {name: value for name, value in given.items() if function.accepts(name)}
    own = {name: value for name, value in settings.items() if name not in given}
    with _seeded(rng.seed, x.device), attacked.counting(), _unchanged(function, attacked.network), function.running():
        returned = function.call(attacked, x.clone(), y.clone(), **arguments, **own)
    x_adv = _checked(function, returned, x)
    clipped = clip_to_ball(x_adv, x, torch.inf if epsilon is None else epsilon, norm)
    fault = _faults(x_adv, clipped, queried=attacked.forwards > 0)
    with torch.no_grad():
        fooled = is_misclassified(attacked(clipped), y)
    result = AttackResult.empty(x)
    result.x_adv = clipped if epsilon is not None else torch.where(per_sample(fooled, x), clipped, x)
    result.first_success_step = torch.where(fooled, round(attacked.backwards), NOT_FOUND)
    result.fault = fault
    result.forwards += round(attacked.forwards)
    result.backwards += round(attacked.backwards)
    return result


def _checked(function: UserFunction, returned: Any, x: Tensor) -> Tensor:
    """Return x' as float32, of an `AttackResult` too. RecipeError for anything that is no x'."""
    x_adv = returned.x_adv if isinstance(returned, AttackResult) else returned
    wanted = f"x' is a tensor of floats of shape {tuple(x.shape)}"
    if not isinstance(x_adv, Tensor):
        raise RecipeError(f"{function.shown} returned {with_article(type(x_adv).__name__)}; {wanted}")
    if x_adv.shape != x.shape or not x_adv.is_floating_point():
        kind = str(x_adv.dtype).removeprefix("torch.")
        raise RecipeError(f"{function.shown} returned {kind} of shape {tuple(x_adv.shape)}; {wanted}")
    return x_adv.detach().to(x)


def _faults(x_adv: Tensor, clipped: Tensor, *, queried: bool) -> Tensor:
    """Return the sum of `FAULTS` (n,) of each x' that was returned, given what is left of it; accuracies hide them."""
    broken = x_adv.isnan().flatten(1).any(1)
    outside = ~broken & (x_adv != clipped).flatten(1).any(1)
    return broken * FAULTS["nan"] + outside * FAULTS["outside"] + (0 if queried else FAULTS["unqueried"])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, and restore them and all other global state."""
    import numpy as np

    with preserved(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield


@contextmanager
def _unchanged(function: UserFunction, network: Any) -> Iterator[None]:
    """Raise RecipeError where the block changes weights, buffers or the mode of the network."""
    if not isinstance(network, nn.Module):
        yield
        return

    def state() -> list[Any]:
        # torch counts the changes of a tensor, except those by its `data`; as text, where NaN equals itself
        tensors = [*network.parameters(), *network.buffers()]
        changes = [(tensor._version, repr(tensor.double().sum().item())) for tensor in tensors]
        return [*changes, *(part.training for part in network.modules())]

    before = state()
    yield
    if state() != before:
        raise RecipeError(f"{function.shown} changes the network under attack; attack a copy of it")
