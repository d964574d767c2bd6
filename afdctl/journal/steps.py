"""Training steps as columns of numbers, without a dictionary for each: nearly all rows of a long run are steps."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from afdctl.journal.rows import STEP_LINE, Row, Text, parse_value

# Steps that are in memory at once.
MAX_STEPS: Final = 4096


class Steps(NamedTuple):
    """Consecutive steps with the same fields: the names without `event`, and a match of the numbers of each."""

    names: tuple[str, ...]
    matches: list[re.Match[bytes]]

    @property
    def numbers(self) -> list[bytes]:
        """Return the numbers of each step as in the file, with commas between them; `null` if not finite."""
        return [b",".join(match.groups()) for match in self.matches]

    def values(self) -> list[list[float | None]]:
        """Return the numbers of each step."""
        values: list[list[float | None]] = parse_value(b"[[" + b"],[".join(self.numbers) + b"]]")
        return values

    def rows(self) -> Iterator[Row]:
        """Yield the row of each step."""
        event: Row = {"event": "step"}
        return (event | dict(zip(self.names, values, strict=True)) for values in self.values())


def divide(texts: Iterable[Text], row_of: Callable[[int, bytes], Row]) -> Iterator[Steps | tuple[int, Row]]:
    """Yield blocks of steps and, with their bytes, the other rows, in order; `row_of` checks and parses a text."""
    names: tuple[str, ...] = ()
    block: list[re.Match[bytes]] = []
    for begin, text in texts:
        match = _pattern(names).fullmatch(text) if block else None
        if match is None or len(block) == MAX_STEPS:
            if block:
                yield Steps(names, block)
                block = []
            row = row_of(begin, text)
            names = tuple(row)[1:]
            if text.startswith(STEP_LINE):
                match = _pattern(names).fullmatch(text)
            if match is None:
                yield begin, row
                continue
        block.append(match)
    if block:
        yield Steps(names, block)


def step_of(text: bytes) -> int:
    """Return the number of a step without parsing the rest of its text."""
    return int(text.split(b'"step":', 1)[1].split(b",", 1)[0])


@lru_cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return what matches the text of a step with these fields whose values are numbers."""
    # with it, a step takes 3 us, with a dictionary and a check of its values 6 us
    members = (b"," + re.escape(json.dumps(name).encode()) + b":([-+.0-9eE]+|null)" for name in names)
    return re.compile(re.escape(STEP_LINE) + b"".join(members))
