"""A sweep as the authors' published notebook makes it: what the sweep of this package is measured against.

foolbox with its list of epsilons, 0 among them, on every image and on the network as it is (parameters' gradients are
computed along); AutoAttack anew for each epsilon, 0 among them. Written from the facts of the notebook; no line of it
was used. MIM is not in it; the paper's came from AdverTorch, whose release no longer imports, and is written out here.
"""

import logging
import random
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from afdctl.errors import AfdctlError, RecipeError
from afdctl.profile.spec import Spec

Attack = Callable[[nn.Module, Tensor, Tensor, tuple[float, ...]], list[Tensor]]
"""(network, x, y, epsilons) -> images x' for each epsilon."""


def attack(spec: Spec) -> Attack:
    """The notebook's call for an attack of a profile."""
    if spec.name == "aa":
        return lambda network, x, y, epsilons: [auto_attack(network, x, y, epsilon, spec) for epsilon in epsilons]
    if spec.name == "mim":
        return lambda network, x, y, epsilons: [momentum(network, x, y, epsilon, spec) for epsilon in epsilons]
    if spec.name not in CALLS:
        raise RecipeError(f"{spec.title}: the notebook has no such attack; it has {', '.join(CALLS)}, mim and aa")
    imported()
    return lambda network, x, y, epsilons: foolbox_attack(network, x, y, epsilons, spec)


def auto_attack(network: nn.Module, x: Tensor, y: Tensor, epsilon: float, spec: Any) -> Tensor:
    """AutoAttack's standard evaluation at one epsilon."""
    evaluation = import_module("pyautoattack").AutoAttack
    logging.getLogger("auto-attack").setLevel(logging.ERROR)  # its hints are for people who read its figures
    with torch.random.fork_rng(devices=[]):
        norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[spec.norm]
        whole = evaluation(network, norm=norm, eps=epsilon, version="standard", device=str(x.device), seed=0)
        for part in (whole.apgd, whole.apgd_targeted, whole.fab):
            part.n_iter = spec.steps
        whole.square.n_queries = spec.queries
        x_adv: Tensor = whole.run_standard_evaluation(x, y, batch_size=len(x))[0]
    return x_adv


def momentum(network: nn.Module, x: Tensor, y: Tensor, epsilon: float, spec: Any) -> Tensor:
    """MIM at one epsilon, in AdverTorch's form: gradients divided by their L1 norm, the sign of all so far."""
    x_adv, velocity = x, torch.zeros_like(x)
    for _ in range(spec.steps):
        x_adv = x_adv.detach().requires_grad_()
        cross_entropy(network(x_adv), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
        assert x_adv.grad is not None
        gradient = x_adv.grad / x_adv.grad.abs().flatten(1).sum(1).view(-1, 1, 1, 1).clamp_min(1e-12)
        velocity = spec.decay * velocity + gradient
        step = spec.step_size or spec.knobs()["rel_step"] * epsilon
        x_adv = torch.clamp(x + (x_adv.detach() + step * velocity.sign() - x).clamp(-epsilon, epsilon), 0, 1)
    return x_adv.detach()


def foolbox_attack(network: nn.Module, x: Tensor, y: Tensor, epsilons: tuple[float, ...], spec: Spec) -> list[Tensor]:
    """foolbox over its list of epsilons."""
    foolbox = imported()
    name, options = CALLS[spec.name]
    seeded()
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=x.device)
    _, clipped, _ = getattr(foolbox.attacks, name)(**options(spec))(model, x, y, epsilons=list(epsilons))
    return list(clipped)


def imported() -> Any:
    """foolbox, which nothing else needs."""
    try:
        return import_module("foolbox")
    except ModuleNotFoundError:
        raise AfdctlError("the notebook's way needs foolbox: pip install 'afdctl[bench]'") from None


def seeded() -> None:
    """The same draws in each round: foolbox uses global generators."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def stepped(spec: Any) -> dict[str, Any]:
    """Steps and their length, relative or absolute."""
    return {"steps": spec.steps, "rel_stepsize": spec.knobs()["rel_step"] or 0.1, "abs_stepsize": spec.step_size}


CALLS: Final[dict[str, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    "fgsm": ("LinfFastGradientAttack", lambda spec: {"random_start": spec.random_start}),
    "pgd_linf": ("LinfProjectedGradientDescentAttack", stepped),
    "pgd_l2": ("L2ProjectedGradientDescentAttack", stepped),
    "pgd_l1": ("L1ProjectedGradientDescentAttack", stepped),
    "ddn": ("DDNAttack", lambda spec: {"init_epsilon": spec.init_epsilon, "steps": spec.steps, "gamma": spec.gamma}),
    "deepfool": (
        "LinfDeepFoolAttack",
        lambda spec: {"steps": spec.steps, "candidates": spec.candidates, "overshoot": spec.overshoot},
    ),
    "cw": (
        "L2CarliniWagnerAttack",
        lambda spec: {
            "binary_search_steps": spec.binary_search_steps,
            "steps": spec.steps,
            "stepsize": spec.step_size,
            "confidence": spec.confidence,
            "initial_const": spec.initial_const,
        },
    ),
}
