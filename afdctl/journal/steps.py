"""Training steps as columns of numbers, without a dictionary for each: nearly all rows of a long run are steps."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from afdctl.journal.rows import CRC_BYTES, STEP_LINE, Row, Text, parse_value

# The value of a field, and one of a step that was matched before, which is found in a third of the time.
NUMBER: Final = b"(?:[-+.0-9eE]+|null)"
MATCHED_NUMBER: Final = b"([^,]*)"
CHECKSUM: Final = rb',"crc":"[0-9a-f]{8}"}\n'


class Steps(NamedTuple):
    """Consecutive steps with the same fields: the names without `event`, and the lines of the journal."""

    names: tuple[str, ...]
    lines: bytes

    @property
    def length(self) -> int:
        """The number of steps."""
        return self.lines.count(b"\n")

    @property
    def numbers(self) -> list[bytes]:
        """Return the numbers of each step as in the file, with commas between them; `null` if not finite."""
        return [b",".join(numbers) for numbers in _line(self.names, MATCHED_NUMBER).findall(self.lines)]

    def values(self) -> list[list[float | None]]:
        """Return the numbers of each step."""
        values: list[list[float | None]] = parse_value(b"[[" + b"],[".join(self.numbers) + b"]]")
        return values

    def rows(self) -> Iterator[Row]:
        """Yield the row of each step."""
        event: Row = {"event": "step"}
        return (event | dict(zip(self.names, values, strict=True)) for values in self.values())


def divide(texts: Iterable[Text], row_of: Callable[[int, bytes], Row]) -> Iterator[tuple[int, Steps | Row]]:
    """Yield blocks of steps and the other rows, with their bytes, in order.

    `texts` are verified lines, many in each, of which a block has steps of one. `row_of` checks and parses the JSON of
    a line without its end.
    """
    names: tuple[str, ...] = ()
    for begin, lines in texts:
        first = 0
        while first < len(lines):
            # a match of many lines takes 1.8 us per step; parsing each and checking its values takes 6 us
            match = _steps(names).match(lines, first)
            if match is None:
                end = lines.index(b"\n", first) + 1
                row = row_of(begin + first, lines[first : end - CRC_BYTES])
                names = tuple(row)[1:]
                match = _steps(names).match(lines, first)
            if match:
                yield begin + first, Steps(names, match[0])
                end = match.end()
            else:
                yield begin + first, row
            first = end


def step_of(line: bytes) -> int:
    """Return the number of a step without parsing the rest of its line."""
    return int(line.split(b'"step":', 1)[1].split(b",", 1)[0])


@lru_cache
def _steps(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return what matches one or more lines of steps with these fields."""
    return re.compile(b"(?:%s)+" % _line(names, NUMBER).pattern)


@lru_cache
def _line(names: tuple[str, ...], value: bytes) -> re.Pattern[bytes]:
    """Return what matches the line of a step with these fields; `value` matches the number of each."""
    members = (b"," + re.escape(json.dumps(name).encode()) + b":" + value for name in names)
    return re.compile(re.escape(STEP_LINE) + b"".join(members) + CHECKSUM)
