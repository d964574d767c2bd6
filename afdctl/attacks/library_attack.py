"""Run an attack of another library on a batch, counted and checked as our own.

Only x' is taken from a library; whether it fools the model is decided here, and again in the verification.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult, Model, is_misclassified
from afdctl.attacks.norms import clip_to_ball
from afdctl.attacks.query_counter import CountingModel, seed_global_rng
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.errors import RecipeError, out_of_memory
from afdctl.formatting import one_line_error
from afdctl.user_code.attack_libraries import ORDERS, LibraryAttack
from afdctl.user_code.global_state import preserved

# what foolbox raises where it finds no start for one of the images of a batch
NO_START = (ValueError, AssertionError)


class CountedModule(nn.Module):
    """The model as a module, which both libraries expect."""

    def __init__(self, counter: CountingModel) -> None:
        super().__init__()
        self.counter = counter

    def forward(self, x: Tensor) -> Tensor:
        return self.counter(x)


def run_library_attack(
    attack: LibraryAttack,
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    rng: SampleRNG,
    epsilon: float | None,
    norm: str,
    settings: Mapping[str, Any],
) -> AttackResult:
    """Attack images x (n, c, h, w) with labels y (n,) in a ball, or without a budget (epsilon None).

    x' is clipped to its ball and to [0, 1]. Error: RecipeError with the library's message where it fails.
    """
    counter = CountingModel(model, x, y)
    counter.retain_graph = True
    rows = counter.right.nonzero()[:, 0]
    arguments = {attack.settings[key][0]: value for key, value in settings.items() if key in attack.settings}
    with preserved(), seed_global_rng(rng.seed, x.device), torch.enable_grad():
        np.random.seed(rng.seed % 2**32)
        _attack_rows(attack, counter, rows, epsilon=epsilon, norm=norm, arguments=arguments)
    return counter.verified_result()


def _attack_rows(
    attack: LibraryAttack,
    counter: CountingModel,
    rows: Tensor,
    *,
    epsilon: float | None,
    norm: str,
    arguments: Mapping[str, Any],
) -> None:
    """Attack the samples `rows` (m,); where the library finds no start for one of them, the others in halves."""
    if not len(rows):
        return
    x, y = counter.focus(rows)
    call = _call_advlib if attack.library == "advlib" else _call_foolbox
    try:
        x_adv = call(attack, CountedModule(counter).eval(), x, y, epsilon=epsilon, norm=norm, arguments=arguments)
    except Exception as error:
        if out_of_memory(error):
            raise
        if not isinstance(error, NO_START):
            raise RecipeError(f"{attack.name}: fails: {one_line_error(error)}") from error
        if len(rows) == 1:
            # nothing found for this image, whose x' is x
            return
        for half in rows.chunk(2):
            _attack_rows(attack, counter, half, epsilon=epsilon, norm=norm, arguments=arguments)
        return
    counter.focus(rows)
    x_adv = clip_to_ball(x_adv.detach().to(x), x, torch.inf if epsilon is None else epsilon, norm)
    with torch.no_grad():
        fooled = is_misclassified(counter(x_adv), y)
    counter.result.x_adv[rows] = x_adv
    counter.record_final(rows, fooled)


def _call_advlib(
    attack: LibraryAttack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | None,
    norm: str,
    arguments: Mapping[str, Any],
) -> Tensor:
    given: dict[str, Any] = {"targeted": False}
    if attack.norm_argument:
        given[attack.norm_argument] = norm if attack.norm_argument == "distance" else ORDERS[norm]
    if attack.budget:
        given[attack.budget] = epsilon
    x_adv: Tensor = attack.call(model, x.clone(), y.clone(), **given, **arguments)
    return x_adv


def _call_foolbox(
    attack: LibraryAttack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float | None,
    norm: str,
    arguments: Mapping[str, Any],
) -> Tensor:
    from foolbox.criteria import Misclassification
    from foolbox.distances import LpDistance
    from foolbox.models.pytorch import PyTorchModel

    given: dict[str, Any] = {"constraint": norm} if attack.norm_argument == "constraint" else {}
    if attack.norm_argument == "distance":
        given["distance"] = LpDistance(ORDERS[norm])
    instance = attack.call(**given, **arguments)
    budget = {} if epsilon is None else {"epsilon": epsilon}
    network = PyTorchModel(model, bounds=(0, 1), device=x.device)
    x_adv: Tensor = instance.run(network, x.clone(), Misclassification(y.clone()), **budget)
    return x_adv
