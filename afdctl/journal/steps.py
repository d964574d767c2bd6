"""Training steps as columns of numbers, without a dictionary for each: nearly all rows of a long run are steps."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from afdctl.journal.rows import CRC_BYTES, STEP_LINE, Lines, Row, parse_value

# What matches the value of a field, and the value in a line that is known to match.
NUMBER: Final = b"(?:[-+.0-9eE]+|null)"
KNOWN_NUMBER: Final = b"([^,]*)"
CHECKSUM: Final = rb',"crc":"[0-9a-f]{8}"}\n'
# Sets of fields whose patterns are kept.
MAX_PATTERNS: Final = 1024


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
        return [b",".join(numbers) for numbers in _step(self.names).findall(self.lines)]

    def values(self) -> list[list[float | None]]:
        """Return the numbers of each step."""
        values: list[list[float | None]] = parse_value(b"[[" + b"],[".join(self.numbers) + b"]]")
        return values

    def rows(self) -> Iterator[Row]:
        """Yield the row of each step."""
        event: Row = {"event": "step"}
        return (event | dict(zip(self.names, values, strict=True)) for values in self.values())


def divide(
    texts: Iterable[Lines], row_of: Callable[[int, bytes], Row], events: Collection[str] | None = None
) -> Iterator[tuple[int, Steps | Row]]:
    """Yield the steps as blocks and the other rows, each with its byte, in order, of these events (default: all).

    A block has steps of one of `texts`, which are verified lines. `row_of` checks and parses the JSON of a line without
    its end.
    """
    starts = b"" if events is None else tuple(b'{"event":"%s"' % event.encode() for event in events)
    names: tuple[str, ...] = ()
    for begin, lines in texts:
        first = 0
        while first < len(lines):
            end = lines.index(b"\n", first) + 1
            if lines.startswith(starts, first):
                row: Row = {}
                match = _match(names, lines, first)
                if not match:
                    row = row_of(begin + first, lines[first : end - CRC_BYTES])
                    names = tuple(row)[1:] if row["event"] == "step" else ()
                    match = _match(names, lines, first)
                if match:
                    end = match.end()
                yield begin + first, Steps(names, match[0]) if match else row
            first = end


def _match(names: tuple[str, ...], lines: bytes, first: int) -> re.Match[bytes] | None:
    """Match all steps from byte `first` on that have these fields, the fields of a checked step or none."""
    # one match of many lines takes 1.8 us per step; parsing each and checking its values takes 6 us
    return _steps(names).match(lines, first) if names else None


def step_of(line: bytes) -> int:
    """Return the number of a step without parsing the rest of its line."""
    return int(line.split(b'"step":', 1)[1].split(b",", 1)[0])


@lru_cache(MAX_PATTERNS)
def _steps(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return what matches one or more lines of steps with these fields."""
    return re.compile(b"(?:%s)+" % _pattern(names, NUMBER))


@lru_cache(MAX_PATTERNS)
def _step(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return what finds the numbers of each step in lines that `_steps` matches."""
    return re.compile(_pattern(names, KNOWN_NUMBER))


def _pattern(names: tuple[str, ...], number: bytes) -> bytes:
    members = (b"," + re.escape(json.dumps(name).encode()) + b":" + number for name in names)
    return re.escape(STEP_LINE) + b"".join(members) + CHECKSUM
