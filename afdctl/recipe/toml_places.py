"""The line of every table and key of a TOML text, which tomli does not report."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import tomli

# tables and keys from the top of a file; a number is the index of a `[[table]]`
Keys = tuple[str | int, ...]

# one of these is in the last line of a statement that spans several lines
CLOSING: Final = ("]", "}", '"""', "'''")


class UnreadableError(ValueError):
    """A statement that tomli cannot parse, and its first line."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class PlacesInText(Mapping[Keys, str]):
    """The place of every table and key of a valid TOML text; found when first asked for.

    A run's recorded recipe needs them only for an error.
    """

    def __init__(self, text: str, source: str) -> None:
        self._text, self._source = text, source

    @cached_property
    def _places(self) -> dict[Keys, str]:
        places = {keys: f"{self._source}:{line}: " for keys, line in lines(self._text).items()}
        return {(): f"{self._source}: ", **places}

    def __getitem__(self, keys: Keys) -> str:
        return self._places[keys]

    def __iter__(self) -> Iterator[Keys]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def lines(text: str) -> dict[Keys, int]:
    """Map every table and key of a valid TOML text to its line, from 1: `("attack", "epsilon") -> 9`."""
    # of a table, the first line counts, so it comes last
    return {keys: line for line, new_keys in reversed([*placed_keys(text)]) for keys in new_keys}


def placed_keys(text: str) -> Iterator[tuple[int, list[Keys]]]:
    """Yield the first line of every header and assignment, and the tables and keys that it sets."""
    table: Keys = ()
    # `[[table]]` -> index of its latest entry
    latest: dict[Keys, int] = {}
    for line, statement, values in statements(text):
        keys_of_statement = list(key_paths(values))
        header = statement.lstrip()
        if header.startswith("["):
            table = header_keys(keys_of_statement[-1], header.startswith("[["), latest)
            yield line, [table[:-1], table] if isinstance(table[-1], int) else [table]
        else:
            yield line, [table + keys for keys in keys_of_statement]


def header_keys(header: Keys, is_array: bool, latest: dict[Keys, int]) -> Keys:
    """Insert the indices of `[[tables]]` into a header's keys; an array's header starts a new entry."""
    keys: Keys = ()
    for depth, part in enumerate(header, 1):
        keys += (part,)
        if is_array and depth == len(header):
            latest[keys] = latest.get(keys, -1) + 1
        if keys in latest:
            keys += (latest[keys],)
    return keys


def statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the first line, text and values of every header and assignment; lines are joined until tomli parses them.

    UnreadableError for what exceeds a limit of tomli or Python, which they report without a line.
    """
    start, statement = 1, ""
    for line, content in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        statement += content + "\n"
        # parsing a list of 20,000 lines again at each line would take minutes
        if line > start and not any(closing in content for closing in CLOSING):
            continue
        try:
            values = tomli.loads(statement)
        except tomli.TOMLDecodeError:
            continue
        except RecursionError:
            raise UnreadableError("nested too deep", start) from None
        except ValueError:
            raise UnreadableError("a number of too many digits", start) from None
        yield start, statement, values
        start, statement = line + 1, ""


def key_paths(values: Mapping[str, Any]) -> Iterator[Keys]:
    """Yield every key of nested tables, a table before its keys."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in key_paths(value))
