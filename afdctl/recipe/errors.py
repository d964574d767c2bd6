"""pydantic's complaints in plain words, each with the file and line, or the `--set`, that the value came from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from afdctl.paths import shortened
from afdctl.recipe.fields import suggestion
from afdctl.recipe.presets import value_at
from afdctl.recipe.schema import DEFENSES, Recipe
from afdctl.recipe.toml_source import LARGEST, Keys, Layer, toml_value

WORDS: Final = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "too_long": "must have at most {max_length} values",
    "tuple_type": "must be a list, such as [50, 80]",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "finite_number": "must be finite",
    "greater_than": "must be greater than {gt:.10g}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than": "must be less than {lt:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "disagreement": "{reason}",
}


def report(error: ValidationError, layers: Sequence[Layer], values: Mapping[str, Any]) -> str:
    """Every problem of a recipe whose layers merged to `values`, one line each."""
    return "\n".join(problem(details, layers, values) for details in error.errors())


def problem(details: ErrorDetails, layers: Sequence[Layer], values: Mapping[str, Any]) -> str:
    """One problem: `recipes/x.toml:9: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?`."""
    keys = keys_of(details)
    value = value_at(values, keys)
    missing = value is None
    if details["type"] == "extra_forbidden" or missing or isinstance(value, dict):
        subject = shortened(".".join(keys))
    else:
        subject = f"{shortened('.'.join(keys))} = {shortened(json.dumps(value, default=str, ensure_ascii=False))}"
    # what is missing is missing from a file, not from the command line
    at = place(keys, [layer for layer in layers if () in layer.where] if missing else layers)
    return f"{at}{subject}: {words(details, value)}"


def keys_of(details: ErrorDetails) -> Keys:
    """The recipe's key that a problem is about, such as `("attack", "epsilon")`."""
    keys = tuple(str(key) for key in details["loc"] if isinstance(key, str))
    if keys[0] == "defense":
        # pydantic puts the defense's kind between the table and the key
        keys = (keys[0], *(("name",) if "tag" in details["type"] else keys[2:]))
    return (*keys, details["ctx"]["key"]) if details["type"] == "disagreement" else keys


def place(keys: Keys, layers: Sequence[Layer]) -> str:
    """Where the last layer that sets a key does so; else where its table stands, else the file."""
    for length in range(len(keys), -1, -1):
        for layer in reversed(layers):
            if keys[:length] in layer.where:
                return layer.where[keys[:length]]
    return ""


def words(details: ErrorDetails, value: Any) -> str:
    """What is wrong with a value, and what to do about it."""
    kind, loc = details["type"], details["loc"]
    if kind == "extra_forbidden":
        return f"no such key ({suggestion(str(loc[-1]), known_beside(loc))})"
    if kind in ("missing", "union_tag_not_found"):
        return f"missing; add it to [{loc[0]}]"
    if kind == "union_tag_invalid":
        return f"no such name ({suggestion(str(value), list(DEFENSES))})"
    template = WORDS.get(kind, details["msg"])
    return template.format(**details["ctx"]) if "ctx" in details else template + remedy(kind, value)


def known_beside(loc: Sequence[int | str]) -> list[str]:
    """The keys that may stand where an unknown one does."""
    if len(loc) == 1:
        return ["extends", *Recipe.model_fields]
    model = DEFENSES[str(loc[1])] if loc[0] == "defense" else Recipe.model_fields[str(loc[0])].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def remedy(kind: str, value: Any) -> str:
    """How to write a value of the wrong type, where that is obvious."""
    if kind == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return f"; write {value:.0f}"
    if isinstance(value, str) and not isinstance(toml_value(value), str) and kind != "tuple_type":
        return f"; remove the quotes: {shortened(value)}"
    return ""
