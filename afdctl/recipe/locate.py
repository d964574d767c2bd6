"""Where in a TOML text each key stands."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import tomli

Keys = tuple[str, ...]
CLOSING: Final = ("]", "}", '"""', "'''")
"""What the last line of a statement of several lines has."""


class UnreadableError(ValueError):
    """A statement that tomli cannot carry, and the line where it begins."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def lines(text: str) -> dict[Keys, int]:
    """The line, from 1, of every table and key of a valid TOML text: `("attack", "epsilon") -> 9`."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    for line, statement in statements(text):
        parsed = list(paths(tomli.loads(statement)))
        if statement.lstrip().startswith("["):
            table = parsed[-1]
            parsed = [table]
        else:
            parsed = [table + keys for keys in parsed]
        for keys in parsed:
            found.setdefault(keys, line)
    return found


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and assignment with its first line: lines are joined until tomli can read them.

    UnreadableError for what breaks a limit of tomli or Python, which they report without a line.
    """
    start, statement = 1, ""
    for line, content in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        statement += content + "\n"
        # reading the whole statement again at each line of a long list would take minutes
        if line > start and not any(closing in content for closing in CLOSING):
            continue
        try:
            tomli.loads(statement)
        except tomli.TOMLDecodeError:
            continue
        except RecursionError:
            raise UnreadableError("nested too deep", start) from None
        except ValueError:
            raise UnreadableError("a number of too many digits", start) from None
        yield start, statement
        start, statement = line + 1, ""


def paths(values: Mapping[str, Any]) -> Iterator[Keys]:
    """Every key of a tree, tables before what is in them."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in paths(value))
