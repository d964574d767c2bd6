"""Read parts of a journal: a sample, its end, the rows between two bytes. Damaged lines are left out."""

from pathlib import Path
from typing import Final

from afdctl.journal.reader import Line
from afdctl.journal.rows import Row, parse_line

MAX_SAMPLED_LINE: Final = 1 << 18
TAIL_BYTES: Final = 1 << 18


def sample(path: Path, count: int) -> list[Line]:
    """Return intact rows from `count` evenly spaced places of a file and from its end, unchecked, in order.

    It shows what a long journal looks like before all of it has been read.
    """
    lines: list[Line] = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for number in range(count):
            file.seek(size * number // count)
            begin = file.tell() + (len(file.readline(MAX_SAMPLED_LINE)) if number else 0)
            line = file.readline(MAX_SAMPLED_LINE)
            if begin < size and (not lines or begin > lines[-1][0]) and (row := parse_line(line)):
                lines.append((begin, row))
    last = lines[-1][0] if lines else -1
    return lines + [(begin, row) for begin, row in read_tail(path) if begin > last]


def read_tail(path: Path, size: int = TAIL_BYTES) -> list[Line]:
    """Return the intact rows in the last `size` bytes of a file, unchecked."""
    with path.open("rb") as file:
        begin = max(0, file.seek(0, 2) - size)
        file.seek(begin)
        begin += len(file.readline()) if begin else 0
        lines = []
        for line in file:
            if row := parse_line(line):
                lines.append((begin, row))
            begin += len(line)
    return lines


def rows_between(path: Path, begin: int, end: int, limit: int = 4096) -> list[Row]:
    """Return at most `limit` rows whose lines begin in the bytes from `begin` to `end`, unchecked."""
    rows: list[Row] = []
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if row := parse_line(line):
                rows.append(row)
            begin += len(line)
            if begin >= end or len(rows) >= limit:
                break
    return rows
