"""A TOML text as a layer of a recipe, or one line that says why it is not one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl.errors import RecipeError
from afdctl.recipe.find import shown
from afdctl.recipe.locate import Keys, lines

# `name = afd` and `epsilon = 8/255`, the two that people write most
UNQUOTED: Final = re.compile(r"\s*([\w.-]+)\s*=\s*(?!true\b|false\b)([A-Za-z][\w-]*|[\d.]+/[\d.]+)\s*(#.*)?")


@dataclass(frozen=True)
class Layer:
    """Values, and for every key the words that say where it was set; a file has such words for the empty key too."""

    values: dict[str, Any]
    where: dict[Keys, str]


def read(path: Path) -> Layer:
    """The layer of a file."""
    source = str(shown(path))
    try:
        return parse(path.read_bytes().decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error.strerror}") from None


def parse(text: str, source: str) -> Layer:
    """The layer of a TOML text that messages call `source`."""
    try:
        values = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise RecipeError(f"{source}:{error.lineno}:{error.colno}: not TOML: {explain(error)}") from None
    where = {keys: f"{source}:{line}: " for keys, line in lines(text).items()}
    return Layer(values, {(): f"{source}: ", **where})


def explain(error: tomli.TOMLDecodeError) -> str:
    """What the parser says, and what to do where the mistake is a common one."""
    reason = error.msg[0].lower() + error.msg[1:]
    unquoted = UNQUOTED.fullmatch(error.doc.split("\n")[error.lineno - 1])
    return f'{reason}; text needs quotes: {unquoted[1]} = "{unquoted[2]}"' if unquoted else reason


def toml_value(text: str) -> Any:
    """The TOML value that `text` is, or else `text`."""
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError:
        return text
