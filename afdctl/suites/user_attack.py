"""A user's attack by name: the model of its keys, with the attack itself."""

from typing import Any, Final, Literal

from afdctl import registry
from afdctl.errors import RecipeError
from afdctl.recipe.own_keys import config_of
from afdctl.suites.attack_config import AttackConfig
from afdctl.user_code.code import UserCode
from afdctl.user_code.function import UserFunction

# what afdctl passes to an attack that has the parameter
GIVEN: Final = ("epsilon", "norm", "rng")
SHAPE: Final = "an attack is a function attack(model, x, y, *, epsilon, ...), or a class with such a __call__"


def config_of_code(name: str) -> type[AttackConfig]:
    """Execute the code of a name that `registry.resolve` returned, and return the model of the attack's keys.

    Errors: RecipeError with the user's file for anything that is no attack, NotFoundError for a missing file.
    """
    code, attribute = registry.user_code(registry.ATTACKS, name), name.rpartition(":")[2]
    assert code is not None
    try:
        return config_of_attack(registry.load(registry.ATTACKS, name), name=name, attribute=attribute, code=code)
    except ValueError as error:
        raise RecipeError(f"{code.located(attribute)}: {error}") from None


def config_of_attack(found: Any, *, name: str, attribute: str, code: UserCode | None = None) -> type[AttackConfig]:
    """Return the model of the keys of a function or class. ValueError for anything that is no attack."""
    function = UserFunction.of(found, attribute, code, 3, SHAPE)
    config = config_of(found, function, AttackConfig, given=GIVEN, first=3)
    members: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {"name": Literal[name]},
        "user_attack": function,
        "default_title": function.title(found, registry.ATTACKS),
    }
    if not function.accepts("epsilon"):
        # one search serves the whole grid
        members |= {"minimises": True, "orders": ("once",)}
    if "shares_generator" not in vars(config):
        # unknown code may draw for its whole batch
        members["shares_generator"] = True
    return type(config.__name__, (config,), members)
