"""The model of the keys of a user's attack or analysis: its `Config`, or made from the signature of its function."""

import inspect
import warnings
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticUserError, create_model

from afdctl.formatting import shorten_list
from afdctl.recipe.fields import Table
from afdctl.user_code.function import UserFunction

T = TypeVar("T", bound=Table)


def config_of(found: Any, function: UserFunction, base: type[T], *, given: Collection[str], first: int) -> type[T]:
    """Return the `Config` of a class or function, or a model with a key for each of its keywords.

    The first arguments (`first` of them) and those in `given` are passed by afdctl. `base` has the keys of every attack
    or analysis. ValueError for a Config that is none, and for keys that clash with these or have no default.
    """
    config = getattr(found, "Config", None)
    if config is None:
        return _config_of_signature(function, base, given=given, first=first)
    if not (inspect.isclass(config) and issubclass(config, base)):
        raise ValueError(f"its Config is no subclass of afdctl.{base.__name__}")
    if clashing := sorted(set(vars(config).get("__annotations__", {})) & (set(base.model_fields) - set(given))):
        raise ValueError(f"its key {shorten_list(clashing)} is one that all have; rename it")
    own = {key: field for key, field in config.model_fields.items() if key not in base.model_fields}
    if missing := [key for key, field in own.items() if field.is_required()]:
        raise ValueError(f"its key {shorten_list(missing)} has no default; give it one")
    return config


def _config_of_signature(function: UserFunction, base: type[T], *, given: Collection[str], first: int) -> type[T]:
    hints, fields = hints_of(function.call), dict[str, Any]()
    for name, parameter in list(function.parameters.items())[first:]:
        has_default = parameter.default is not parameter.empty
        if name in given:
            # a default of a key that all have, such as norm="l2"
            if has_default and name in base.model_fields:
                fields[name] = (base.model_fields[name].annotation, parameter.default)
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if not has_default:
                raise ValueError(f"its argument {name} has no default; give it one")
            if name in base.model_fields:
                raise ValueError(f"its argument {name} is a key that all have; rename it")
            # without an annotation the default decides
            fields[name] = (hints.get(name, type(parameter.default)), parameter.default)
    return model_with(base, "Config", fields)


def model_with(base: type[T], name: str, fields: Mapping[str, Any]) -> type[T]:
    """Return a subclass of `base` with further keys. ValueError for arguments that cannot be keys."""
    keys: dict[str, Any] = dict(fields)
    try:
        with warnings.catch_warnings():
            # a key may have the name of a method of pydantic that afdctl does not call, such as `copy`
            warnings.filterwarnings("ignore", message="Field name", category=UserWarning)
            model: type[T] = create_model(name, __base__=base, __module__=base.__module__, **keys)
    except (PydanticUserError, NameError, TypeError) as error:
        raise ValueError(f"its arguments are no settings: {str(error).splitlines()[0]}") from None
    return model


def hints_of(call: Any) -> Mapping[str, Any]:
    """Return the annotations of what a call of a function, a class or an object takes."""
    function = call.__init__ if inspect.isclass(call) else type(call).__call__
    try:
        return get_type_hints(call if inspect.isroutine(call) else function)
    except NameError:
        # a name that only type checkers import
        return {}
