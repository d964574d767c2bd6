"""Value types of recipes and suites, and checks that a type alone cannot express."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from afdctl.formatting import did_you_mean, shorten
from afdctl.paths import invalid_reason

DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# largest count: more steps, images or queries than any machine can process
MAX_COUNT: Final = 10**9


class Table(BaseModel):
    """One table of a recipe or suite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def parse_decimal(text: str) -> float:
    """Parse `0.3`, `1e-3` or `-2`; ValueError for Python's other notations, such as `1_0`, `inf` or `٣`."""
    if not DECIMAL.fullmatch(text.strip()):
        raise ValueError("must be a number")
    # turns -0.0 into 0.0, so that zero has one name and one key
    return float(text) + 0.0


def parse_fraction(value: Any) -> Any:
    """Parse `"8/255"` as 8 / 255; values other than text are left to pydantic."""
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        quotient = parse_decimal(numerator) / parse_decimal(denominator if slash else "1")
    except (ValueError, ZeroDivisionError):
        raise ValueError('must be a number or a fraction such as "8/255"') from None
    if not slash:
        raise ValueError(f"must be a number; remove the quotes: {shorten(value)}")
    return quotient


def check_name_in(table: Mapping[str, object]) -> Callable[[str], str]:
    """Return a validator that accepts the built-in names of a table."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"no such name ({did_you_mean(name, table)})")
        return name

    return check


def registered(table: Mapping[str, object]) -> Any:
    """Return the type metadata of a key whose values are the built-in names of a table."""
    return AfterValidator(check_name_in(table)), WithJsonSchema({"type": "string", "enum": list(table)})


def check_path(text: str) -> str:
    """Accept a path that a file can have and a recipe can store."""
    if reason := invalid_reason(text):
        raise ValueError(reason)
    if not text.isprintable():
        raise ValueError("has a character that a recipe cannot store; rename the folder, or name it with --data-dir")
    return text


def check_digest(text: str) -> str:
    """Accept a SHA-256."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("must be a SHA-256, 64 hexadecimal digits")
    return text


def cross_table_error(key: str, reason: str) -> PydanticCustomError:
    """Return the error of a key that contradicts another table."""
    return PydanticCustomError("disagreement", "{reason}", {"key": key, "reason": reason})


FRACTION: Final = {"type": "string", "pattern": r"^[\d.]+/[\d.]+$"}
Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, FRACTION]}),
]
# an epsilon of a grid: 0 is clean accuracy
Epsilon = Annotated[
    float,
    BeforeValidator(parse_fraction),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, FRACTION]}),
]
Digest = Annotated[str, AfterValidator(check_digest)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_COUNT)]
NonNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
# auto: the faster one on this device
Precision = Literal["auto", "float32", "bf16"]
