"""The model of the keys of a library's attack, made from its signature."""

import inspect
from functools import cache
from typing import Any, Literal

from pydantic import create_model

from afdctl.suites.attack_config import AttackConfig, MinimumNormAttack
from afdctl.user_code import attack_libraries

# what the libraries call the number of their steps
STEPS = ("steps", "num_steps", "n_iter", "max_iterations", "iter", "max_iter", "repeats")


@cache
def config_of_library(name: str) -> type[AttackConfig]:
    """Import the library of `advlib:NAME` or `foolbox:NAME`, and return the model of the attack's keys.

    Its own settings keep their names and defaults. Errors: RecipeError, AfdctlError without the library.
    """
    found = attack_libraries.find(name)
    fields: dict[str, Any] = {
        key: (hint, ... if default is inspect.Parameter.empty else default)
        for key, (_, hint, default) in found.settings.items()
    }
    fields |= {"name": (Literal[name], ...), "norm": (Literal[found.norms], found.norms[0])}
    base = MinimumNormAttack if found.budget is None else AttackConfig
    config = create_model("LibraryAttackConfig", __base__=base, **fields)
    # as a label may be
    members = {"library_attack": found, "shares_generator": True, "default_title": name.replace(":", ".")}
    return type(config.__name__, (config,), {"__module__": __name__, **members})
