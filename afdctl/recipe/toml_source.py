"""TOML with the place of every key, as recipes and suites are read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import tomli

from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.formatting import shorten
from afdctl.recipe.toml_places import Keys, PlacesInText, UnreadableError, key_paths, placed_keys, statements

# largest file that is read; packaged ones have up to 5,000 bytes
TEXT_BYTES: Final = 1 << 16
# nesting of tables and lists; recipes and suites have up to 3
MAX_DEPTH: Final = 8
# largest integer of TOML
MAX_INTEGER: Final = 2**63 - 1
# the two values most often written without quotes: `name = afd` and `epsilon = 8/255`
UNQUOTED: Final = re.compile(r"\s*([\w.-]+)\s*=\s*(?!true\b|false\b)([A-Za-z][\w-]*|[\d.]+/[\d.]+)\s*(#.*)?")


@dataclass(frozen=True)
class Layer:
    """Values with the place where each key was set, as a prefix for messages: `x.toml:9: ` or `--set `.

    Only a file has a place for the empty key.
    """

    values: dict[str, Any]
    where: Mapping[Keys, str]

    def table(self, *keys: str | int) -> "Layer":
        """Return the layer of one table."""
        depth = len(keys)
        where = {place[depth:]: text for place, text in self.where.items() if place[:depth] == keys}
        return Layer(value_at(self.values, keys), where)


def read(path: Path) -> Layer:
    """Read a file."""
    source = str(paths.display_path(path))
    try:
        # some Windows editors begin a file with a byte order mark
        text = paths.read(path, TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error.strerror}") from None
    return parse(text, source)


def parse(text: str, source: str) -> Layer:
    """Parse a TOML text that messages call `source`."""
    try:
        values = tomli.loads(text)
        if exceeded_limit(values):
            raise_limit(text, source)
    except tomli.TOMLDecodeError as error:
        repeated = repeated_key(error)
        place = error.lineno if repeated else f"{error.lineno}:{error.colno}: not TOML"
        raise RecipeError(f"{source}:{place}: {repeated or explain(error)}") from None
    except (RecursionError, ValueError):
        raise RecipeError(f"{source}{parser_limit(text)}") from None
    return Layer(values, PlacesInText(text, source))


def parse_assignments(assignments: Sequence[str], usage: str = "key.sub=value", option: str = "--set") -> Layer:
    """Parse the values of an option, such as `train.epochs=5`; a value that is not TOML is taken as text."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"{option} {shorten(assignment)}: write {option} {usage}")
        value = toml_value(text.strip())
        for part in reversed(key.split(".")):
            value = {part.strip(): value}
        if reason := exceeded_limit(value):
            raise RecipeError(f"{option} {reason}")
        values = merge(values, value)
    return Layer(values, dict.fromkeys(key_paths(values), f"{option} "))


def toml_value(text: str) -> Any:
    """Parse a TOML value; text that is none is returned as it is."""
    try:
        return tomli.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # includes values beyond a limit of Python, which no key accepts
        return text


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `top` over `base`, table by table."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def merge_all(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay each layer over those before it."""
    return reduce(merge, layers, {})


def value_at(values: Any, keys: Keys) -> Any:
    """Return the value of a key, or None if there is no such key."""
    for key in keys:
        if isinstance(values, Mapping):
            values = values.get(key)
        elif isinstance(values, Sequence) and isinstance(key, int):
            values = values[key]
        else:
            return None
    return values


def raise_limit(text: str, source: str) -> None:
    """Raise RecipeError, with its line, for the first value that is nested too deep or too large."""
    for line, _, values in statements(text):
        if reason := exceeded_limit(values):
            raise RecipeError(f"{source}:{line}: {reason}")


def exceeded_limit(values: Mapping[str, Any]) -> str | None:
    """Name a value that is nested too deep or too large for its readers; None if there is none."""
    # not recursive, because the value may be nested deeper than Python's stack
    pending: list[tuple[tuple[str, ...], int, Any]] = [((), 0, values)]
    while pending:
        keys, depth, value = pending.pop()
        if depth > MAX_DEPTH:
            return f"{shorten('.'.join(keys))}: nested more than {MAX_DEPTH} deep"
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            return f"{shorten('.'.join(keys))}: a whole number beyond 64 bits"
        if isinstance(value, dict):
            pending += [((*keys, key), depth + 1, item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [(keys, depth + 1, item) for item in value]
    return None


def parser_limit(text: str) -> str:
    """Return the line and reason of a failure that tomli reports without a line."""
    try:
        for _ in statements(text):
            pass
    except UnreadableError as error:
        return f":{error.line}: {error}"
    return ": nested too deep"


def repeated_key(error: tomli.TOMLDecodeError) -> str:
    """Describe the key that is set twice, with its first line; empty for another error."""
    first: dict[Keys, int] = {}
    message = ""
    # tomli only reports "Cannot overwrite a value" or "Cannot declare ('train',) twice"
    for line, new_keys in placed_keys(error.doc) if error.msg.startswith("Cannot ") else ():
        if line > error.lineno:
            break
        # of `train.epochs = 2`, the table may be known and only the key be repeated
        again = [keys for keys in new_keys if keys in first]
        name = ".".join(key for key in again[-1] if isinstance(key, str)) if again else ""
        message = f"{name}: already set in line {first[again[-1]]}; keep one of them" if again else ""
        first |= {keys: line for keys in new_keys if keys not in first}
    return message


def explain(error: tomli.TOMLDecodeError) -> str:
    """Return tomli's reason, and the remedy for missing quotes."""
    reason = error.msg[0].lower() + error.msg[1:]
    unquoted = UNQUOTED.fullmatch(error.doc.split("\n")[error.lineno - 1])
    return f'{reason}; text needs quotes: {unquoted[1]} = "{unquoted[2]}"' if unquoted else reason
