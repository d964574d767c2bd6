"""Validation of located values: every problem in plain words, with file, line and key."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, shorten
from afdctl.recipe.named_table import NamedTable
from afdctl.recipe.toml_places import Keys
from afdctl.recipe.toml_source import MAX_INTEGER, Layer, toml_value, value_at

Model = TypeVar("Model", bound=BaseModel)

# pydantic's names of a value that should be a table
TABLE_KINDS: Final = ("model_type", "model_attributes_type")
REASONS: Final = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "string_pattern_mismatch": "must be letters, digits and _ . + -",
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


@dataclass(frozen=True)
class Location:
    """Where a problem is: the keys of a file, the model of the table around it, and the models allowed there."""

    keys: Keys
    table: type[BaseModel] | None
    models: Sequence[type[BaseModel]]


def validate(
    model: type[Model],
    values: Mapping[str, Any],
    layers: Sequence[Layer],
    *,
    context: Mapping[str, Any] | None = None,
    other_keys: Sequence[str] = (),
    table: str = "",
) -> Model:
    """Validate the values that `layers` merged to; RecipeError has one line for each problem.

    `other_keys` are suggested at the top level beside the model's own; `table` precedes each key in a message.
    """
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        problems = [problem(details, model, values, layers, other_keys, table) for details in error.errors()]
        raise RecipeError("\n".join(problems)) from None


def problem(
    details: ErrorDetails,
    model: type[BaseModel],
    values: Mapping[str, Any],
    layers: Sequence[Layer],
    other_keys: Sequence[str],
    table: str,
) -> str:
    """Format a problem: `recipes/x.toml:9: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?`."""
    location = locate(details, model, values)
    value = value_at(values, location.keys)
    name = shorten(".".join(filter(None, [table, key_name(location.keys, values)])))
    if value is not None and details["type"] != "extra_forbidden" and not isinstance(value, dict):
        name += f" = {shorten(json.dumps(value, default=str, ensure_ascii=False))}"
    # a missing key is missing from a file, not from the command line
    candidates = [layer for layer in layers if () in layer.where] if value is None else layers
    extra = other_keys if len(location.keys) == 1 else ()
    return f"{place(location.keys, candidates)}{name}: {reason(details, location, value, extra)}"


def locate(details: ErrorDetails, model: type[BaseModel], values: Mapping[str, Any]) -> Location:
    """Translate pydantic's location, which also has the names of union members and the indices of list items."""
    keys: Keys = ()
    table: type[BaseModel] | None = None
    models: Sequence[type[BaseModel]] = [model]
    for part in details["loc"]:
        if isinstance(part, int):
            # the index of a [[table]] is part of its keys; a plain list is reported as a whole
            keys += (part,) if models else ()
        elif len(models) > 1:
            models = [member for member in models if part in names_of(member)]
        else:
            table = models[0] if models else None
            field = table.model_fields.get(part) if table else None
            keys, models = (*keys, part), models_in(field.annotation) if field else []
            models = [chosen_model(member, value_at(values, keys)) for member in models]
    if "union_tag" in details["type"]:
        keys += ("name",)
    if details["type"] == "disagreement":
        keys += (details["ctx"]["key"],)
    return Location(keys, table, models)


def chosen_model(model: type[BaseModel], values: Any) -> type[BaseModel]:
    """Return the model that the name in a table chooses."""
    return model.model_of(values) if issubclass(model, NamedTable) and isinstance(values, Mapping) else model


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a type, such as the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def names_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the values of `name` that select a model from its union."""
    return get_args(model.model_fields["name"].annotation)


def key_name(keys: Keys, values: Mapping[str, Any]) -> str:
    """Join keys with dots; the entry of a [[table]] is called by its label or name."""
    parts: list[str] = []
    for depth, key in enumerate(keys, 1):
        if isinstance(key, str):
            parts.append(key)
            continue
        entry = value_at(values, keys[:depth])
        title = (entry.get("label") or entry.get("name")) if isinstance(entry, dict) else None
        if isinstance(title, str) and keys[-1] not in ("label", "name"):
            # of a user's code, the name without its folder
            parts[-1] = title.rpartition("/")[2]
    return ".".join(parts)


def place(keys: Keys, layers: Sequence[Layer]) -> str:
    """Return the place of a key in the last layer that sets it; else the place of its table, else of the file."""
    for length in range(len(keys), -1, -1):
        for layer in reversed(layers):
            if keys[:length] in layer.where:
                return layer.where[keys[:length]]
    return ""


def reason(details: ErrorDetails, location: Location, value: Any, other_keys: Sequence[str]) -> str:
    """Say what is wrong with a value, and what to do about it."""
    kind, keys = details["type"], location.keys
    if kind == "extra_forbidden":
        known = [*other_keys, *(location.table.model_fields if location.table else ())]
        # which only a run's recipe has
        known = [key for key in known if key != "user_code"]
        return f"no such key ({did_you_mean(str(keys[-1]), known)})"
    if kind in ("missing", "union_tag_not_found"):
        table = f"[[{keys[0]}]]" if any(isinstance(key, int) for key in keys) else f"[{keys[0]}]"
        return f"missing; add it to {table}"
    if kind == "union_tag_invalid":
        known = [name for model in location.models for name in names_of(model)]
        return f"no such name ({did_you_mean(str(value), known)})"
    if kind in TABLE_KINDS and location.models and isinstance(keys[-1], str):
        known = [f"{'.'.join(map(str, keys))}.{key}" for key in location.models[0].model_fields]
        return f"must be a table; set one of its keys, such as {' or '.join(known[:2])}"
    template = REASONS.get(kind, details["msg"])
    return template.format(**details["ctx"]) if "ctx" in details else template + remedy(kind, value)


def remedy(kind: str, value: Any) -> str:
    """Say how to write a value of the wrong type, where that is obvious."""
    if kind == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return f"; write {value:.0f}"
    if isinstance(value, str) and not isinstance(toml_value(value), str) and kind != "tuple_type":
        return f"; remove the quotes: {shorten(value)}"
    return ""
