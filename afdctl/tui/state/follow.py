"""Reading a journal while another process writes it: a little at a time, and never twice."""

import json
import os
from pathlib import Path
from zlib import crc32

from afdctl.journal import Row

CHUNK = 1 << 20
LONGEST = 1 << 28
"""A line of more bytes is passed over: what it holds would not fit into memory."""
SAMPLED = 1 << 18
"""The longest line that a sample looks at."""
CRC = 9
"""The last bytes of a line are the 8 digits of its CRC and a line feed: they tell it from any other line."""
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a row raises whose fields are not what they should be, where it is read."""
Line = tuple[int, Row]
"""The byte at which a line begins, and its row."""


class Follower:
    """Goes through a journal from its beginning. `damaged` counts lines whose CRC is wrong and that others follow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.size = 0
        self.damaged = 0
        self._last = b""
        self._reach = 0
        self._seen = (-1, -1)

    @property
    def caught_up(self) -> bool:
        """Whether the last `read` came to the end of the file."""
        return self._at_end

    _at_end = True

    def started_large(self) -> None:
        """Remember that there is much to read."""
        self._at_end = False

    def read(self, limit: int = CHUNK) -> list[Line]:
        """The rows since the last call, from about `limit` bytes: more where one line is longer.

        Errors: OSError where the journal cannot be read, Rewritten where it is not the one that was read so far.
        """
        # where it cannot be opened, there is nothing more to come
        self._at_end = True
        with self.path.open("rb") as file:
            information = os.fstat(file.fileno())
            self.size, seen = information.st_size, (information.st_size, information.st_mtime_ns)
            if seen == self._seen:
                return []
            file.seek(max(0, self.offset - len(self._last)))
            if self.size < self.offset or file.read(len(self._last)) != self._last:
                raise JournalReplaced
            data = file.read(max(limit, self._reach))
        self._at_end = self.offset + len(data) >= self.size
        # what is at the end is only read once more when it has changed: it may be long
        self._seen = seen if self._at_end else (-1, -1)
        return self._rows(data)

    def _rows(self, data: bytes) -> list[Line]:
        """What whole lines hold. Bad lines at the very end may be work in progress: the next call sees them again."""
        rows: list[Line] = []
        begin, bad = self.offset, 0
        whole = data[: data.rfind(b"\n") + 1] or (data if len(data) >= LONGEST else b"")
        for line in whole.splitlines(keepends=True):
            row = parse(line)
            if row is None:
                bad += 1
            else:
                rows.append((begin, row))
                self.damaged, bad = self.damaged + bad, 0
                self.offset, self._last = begin + len(line), line[-CRC:]
            begin += len(line)
        if whole and not self._at_end:
            # more follows: they are no work in progress
            self.damaged += bad
            self.offset, self._last = begin, whole[-CRC:]
        self._reach = 0 if whole else 2 * len(data)
        return rows


class JournalReplaced(Exception):  # noqa: N818 (an event, not an error)
    """The journal does not hold what was read of it: it is another one."""


def parse(line: bytes) -> Row | None:
    """The row of one line, or None if it is not what was written."""
    text, _, code = line.rstrip(b"\n").rpartition(b"\t")
    if code != b"%08x" % crc32(text):
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("event"), str) else None


def sample(path: Path, pieces: int, piece: int = 4096) -> list[Line]:
    """Rows from evenly spaced places of the file: what a long journal looks like, before it has been read."""
    rows: list[Line] = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for number in range(pieces):
            file.seek(size * number // pieces)
            begin = file.tell() + (len(file.readline(SAMPLED)) if number else 0)
            line = file.readline(SAMPLED)
            if begin < size and (row := parse(line)) is not None and (not rows or begin > rows[-1][0]):
                rows.append((begin, row))
        begin = max(0, size - piece * 64)
        file.seek(begin)
        begin += len(file.readline()) if begin else 0
        for line in file:
            if begin > (rows[-1][0] if rows else -1) and (row := parse(line)) is not None:
                rows.append((begin, row))
            begin += len(line)
    return rows


def rows_at(path: Path, offset: int, until: int, limit: int = 4096) -> list[Row]:
    """The rows whose lines begin in the bytes from `offset` to `until`, at most `limit` of them."""
    rows: list[Row] = []
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if (row := parse(line)) is not None:
                rows.append(row)
            offset += len(line)
            if offset >= until or len(rows) >= limit:
                break
    return rows
