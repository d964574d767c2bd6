"""Build the defense of a [defense] table, built in or a user's, whose state is found and whose reports are checked."""

import re
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

import torch
from torch import Generator, Tensor, nn

from afdctl import registry
from afdctl.defenses.awp import with_awp
from afdctl.defenses.base import OWN_ATTRIBUTES, Adversary, Defense, Report
from afdctl.errors import RecipeError
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.valueless import check_values
from afdctl.user_code.code import UserCode, located

# fields of the journal's rows of steps
RESERVED: Final = ("event", "t", "step", "epoch", "attack_steps", "progress", "images_per_s")


def make_defense(
    table: Any, network: FeatureClassifier, adversary: Adversary, classes: int, noise: Generator
) -> Defense:
    """Build the defense on the network; see `Defense`. Errors of a user's code: RecipeError with its file and line."""
    cls = registry.load(registry.DEFENSES, table.name)
    code = registry.user_code(registry.DEFENSES, table.name)
    given = {"table": table, "network": network, "adversary": adversary, "classes": classes, "noise": noise}
    defense: Defense = cls(**given) if code is None else make_users(cls, given, code)
    # called by the trainer, and by what estimates and measures the cost of a step
    if table.awp_gamma:
        vars(defense)["step"] = with_awp(defense)
    return defense


def make_users(cls: Any, given: Mapping[str, Any], code: UserCode) -> Defense:
    """Build a user's defense, and check that it is one."""
    name = given["table"].name
    if not issubclass(cls, Defense):
        raise RecipeError(f"{located(name)}: is not a subclass of afdctl.Defense")
    try:
        signature(cls).bind(**given)
    except TypeError:
        where = located(name, "__init__")
        raise RecipeError(f"{where} must take **given, and call super().__init__(**given)") from None
    with code.running(f"{cls.__name__}()"):
        defense: Defense = cls(**given)
    find_state(defense, name)
    check_nothing_lost(defense, name)
    state_dict = defense.state_dict

    def checked_state_dict() -> dict[str, Any]:
        # a step may have filled a list
        check_nothing_lost(defense, name)
        return state_dict()

    vars(defense)["state_dict"] = checked_state_dict
    vars(defense)["step"] = checked_step(defense.step, code, name)
    return defense


def find_state(defense: Defense, name: str) -> None:
    """Enter the modules and optimizers among a defense's attributes into its state, modules on the network's device."""
    own = set(defense.network.modules())
    device = next(defense.network.parameters()).device
    for key, value in vars(defense).items():
        if key in OWN_ATTRIBUTES:
            continue
        check_name_is_free(defense, key, value, name)
        if isinstance(value, nn.Module) and value not in own and value not in defense.modules.values():
            check_values(value, f"{located(name)}: module '{key}'")
            defense.modules[key] = value.to(device)
        elif isinstance(value, torch.optim.Optimizer) and value not in defense.optimizers.values():
            defense.optimizers[key] = value


def check_name_is_free(defense: Defense, key: str, value: Any, name: str) -> None:
    """Raise RecipeError for an attribute that takes the place of a method or an optimizer of afdctl."""
    if callable(getattr(Defense, key, None)):
        raise RecipeError(f"{located(name)}: self.{key} hides afdctl's method {key}(); choose another name")
    taken = defense.optimizers.get(key, value)
    if isinstance(value, torch.optim.Optimizer) and value is not taken:
        raise RecipeError(
            f"{located(name)}: self.{key} has the name of afdctl's optimizer {key}; choose another name, or replace "
            f"that one: self.optimizers['{key}'] = ..."
        )


def check_nothing_lost(defense: Defense, name: str) -> None:
    """Raise RecipeError for an attribute that a resume would lose, as the training could not be continued."""
    if found := defense.lost():
        raise RecipeError(f"{located(name)}: self.{found[0]} {found[1]}")


def checked_step(step: Callable[[Tensor, Tensor], Report], code: UserCode, name: str) -> Callable[..., Report]:
    """Return a user's `step`, with errors of one line; its report becomes 0-dim float32 tensors without gradients."""

    called = located(name, "step")

    def run(x: Tensor, y: Tensor) -> Report:
        with code.running("step()"):
            report: Any = step(x, y)
        if not isinstance(report, dict) or not report:
            raise RecipeError(f"{called} must return a dict of metrics, such as {{'L_C': loss}}")
        return {key: metric(key, value, called, x.device) for key, value in report.items()}

    return run


def metric(key: Any, value: Any, called: str, device: torch.device) -> Tensor:
    """Return the value of a metric as a tensor; RecipeError for a name or a value that the journal cannot have."""
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z]\w*", key, re.ASCII):
        raise RecipeError(f"{called} reports {key!r}; a metric's name is letters, digits and _")
    if key in RESERVED or key.startswith("lr_"):
        raise RecipeError(f"{called} reports '{key}', which is a field of the journal; choose another name")
    if isinstance(value, int | float):
        value = torch.tensor(float(value))
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:60]
        raise RecipeError(f"{called} reports '{key}' as {found}; a metric is one number")
    return value.detach().reshape(()).to(device, torch.float32)
