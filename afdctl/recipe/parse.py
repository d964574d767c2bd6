"""A TOML text as a layer of a recipe, or one line that says why it is not one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl import files
from afdctl.errors import RecipeError
from afdctl.recipe.find import shown
from afdctl.recipe.locate import Keys, UnreadableError, lines, statements

# `name = afd` and `epsilon = 8/255`, the two that people write most
UNQUOTED: Final = re.compile(r"\s*([\w.-]+)\s*=\s*(?!true\b|false\b)([A-Za-z][\w-]*|[\d.]+/[\d.]+)\s*(#.*)?")
TEXT_BYTES: Final = 1 << 16
"""The largest file that is read; packaged ones have up to 12,000 bytes."""
DEEPEST: Final = 8
"""Tables and lists within each other; recipes and suites have up to 3."""
LARGEST: Final = 2**63 - 1
"""The largest whole number of TOML."""


@dataclass(frozen=True)
class Layer:
    """Values, and for every key the words that say where it was set; a file has such words for the empty key too."""

    values: dict[str, Any]
    where: dict[Keys, str]


def read(path: Path) -> Layer:
    """The layer of a file."""
    source = str(shown(path))
    return parse(read_text(path, source), source)


def read_text(path: Path, source: str) -> str:
    """Read a recipe's or a suite's text; RecipeError calls it `source`."""
    try:
        return files.read(path, TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error.strerror}") from None


def parse(text: str, source: str) -> Layer:
    """The layer of a TOML text that messages call `source`."""
    try:
        values = tomli.loads(text)
        refuse_extremes(text, source)
        where = {keys: f"{source}:{line}: " for keys, line in lines(text).items()}
    except tomli.TOMLDecodeError as error:
        raise RecipeError(f"{source}:{error.lineno}:{error.colno}: not TOML: {explain(error)}") from None
    except (RecursionError, ValueError):
        raise RecipeError(f"{source}{unreadable(text)}") from None
    return Layer(values, {(): f"{source}: ", **where})


def refuse_extremes(text: str, source: str) -> None:
    """RecipeError for a statement that is nested too deep or has too large a number, with its line."""
    for line, statement in statements(text):
        if reason := extreme(tomli.loads(statement)):
            raise RecipeError(f"{source}:{line}: {reason}")


def extreme(values: Mapping[str, Any]) -> str | None:
    """Say which value of a tree is nested too deep or too large a number for what reads it; None for none."""
    waiting: list[tuple[Keys, int, Any]] = [((), 0, values)]
    while waiting:
        keys, depth, value = waiting.pop()
        name = files.shortened(".".join(keys))
        if depth > DEEPEST:
            return f"{name}: nested more than {DEEPEST} deep"
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{name}: a whole number beyond 64 bits"
        if isinstance(value, dict):
            waiting += [((*keys, key), depth + 1, item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(keys, depth + 1, item) for item in value]
    return None


def unreadable(text: str) -> str:
    """Where and why tomli gave up on a text without naming a line."""
    try:
        for _ in statements(text):
            pass
    except UnreadableError as error:
        return f":{error.line}: {error}"
    return ": nested too deep"


def explain(error: tomli.TOMLDecodeError) -> str:
    """What the parser says, and what to do where the mistake is a common one."""
    reason = error.msg[0].lower() + error.msg[1:]
    unquoted = UNQUOTED.fullmatch(error.doc.split("\n")[error.lineno - 1])
    return f'{reason}; text needs quotes: {unquoted[1]} = "{unquoted[2]}"' if unquoted else reason


def toml_value(text: str) -> Any:
    """The TOML value that `text` is, or else `text`."""
    try:
        return tomli.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # also what breaks a limit of Python: no key takes such a text
        return text
