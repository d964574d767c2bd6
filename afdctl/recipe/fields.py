"""What the tables of a recipe are made of: kinds of values, and checks that a type alone cannot express."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from afdctl import registry
from afdctl.paths import fault, shortened

DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Table(BaseModel):
    """One table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def decimal(text: str) -> float:
    """Read `0.3`, `1e-3` or `-2`; ValueError for what Python alone calls a number, such as `1_0`, `inf` or `٣`."""
    if not DECIMAL.fullmatch(text.strip()):
        raise ValueError("must be a number")
    # -0.0 would have a name and a key of its own
    return float(text) + 0.0


def number(value: Any) -> Any:
    """Read `"8/255"` as 8 / 255; anything but text is left to pydantic."""
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        quotient = decimal(numerator) / decimal(denominator if slash else "1")
    except (ValueError, ZeroDivisionError):
        raise ValueError('must be a number or a fraction such as "8/255"') from None
    if not slash:
        raise ValueError(f"must be a number; remove the quotes: {shortened(value)}")
    return quotient


def join_choices(table: Mapping[str, str]) -> Callable[[str], str]:
    """A validator that accepts the names of a registry table."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"no such name ({suggestion(name, list(table))})")
        return name

    return check


def check_path(text: str) -> str:
    """The path, where a file can have it."""
    if reason := fault(text):
        raise ValueError(reason)
    if not text.isprintable():
        raise ValueError("has a character that a recipe cannot keep; rename the folder, or name it with --data-dir")
    return text


def suggestion(name: str, known: list[str]) -> str:
    """What to offer in place of a name that is not known."""
    near = registry.nearest(name, known)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(known)}"


def registered(table: Mapping[str, str]) -> Any:
    """The metadata of a key whose values are the names of a registry table."""
    return AfterValidator(join_choices(table)), WithJsonSchema({"type": "string", "enum": list(table)})


Fraction = Annotated[
    float,
    BeforeValidator(number),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^[\d.]+/[\d.]+$"}]}
    ),
]
MOST: Final = 10**9
"""The largest count: more steps, images or queries than any machine gets through."""
Count = Annotated[int, Field(ge=1, le=MOST)]
Whole = Annotated[int, Field(ge=0, le=MOST)]
Rate = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]

# keys that only some data sets or adversaries have
KEYS_BY_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "path": ("folder",),
    "channels": ("folder",),
    "image_size": ("folder", "tiny_imagenet"),
    "step_size": ("pgd", "pgd_kl"),
}


def check_applicable(value: Any, info: ValidationInfo, kind_key: str) -> Any:
    """The value of a key that only some kinds have, where the kind is one of them."""
    # a kind that failed its own check is not in the data
    kind, allowed = info.data.get(kind_key), KEYS_BY_KIND[str(info.field_name)]
    if value is not None and kind is not None and kind not in allowed:
        raise ValueError(f"{kind} has no such key (only {' and '.join(allowed)} can use it)")
    return value


def cross_table_error(key: str, reason: str) -> PydanticCustomError:
    """The error of a key that does not agree with another table's."""
    return PydanticCustomError("disagreement", "{reason}", {"key": key, "reason": reason})
