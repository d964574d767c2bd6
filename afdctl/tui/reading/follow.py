"""Reading a journal while another process writes it: a little at a time, and never twice."""

import json
from pathlib import Path
from zlib import crc32

from afdctl.events import Row

CHUNK = 1 << 20
Line = tuple[int, Row]
"""The byte at which a line begins, and its row."""


class Follower:
    """Goes through a journal from its beginning. `damaged` counts lines whose CRC is wrong and that others follow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.size = 0
        self.damaged = 0

    @property
    def caught_up(self) -> bool:
        """Whether the last `read` came to the end of the file."""
        return self._at_end

    _at_end = True

    def started_large(self) -> None:
        """Remember that there is much to read."""
        self._at_end = False

    def read(self, limit: int = CHUNK) -> list[Line]:
        """The rows since the last call, from at most `limit` bytes. FileNotFoundError where the journal is gone."""
        with self.path.open("rb") as file:
            self.size = file.seek(0, 2)
            if self.size < self.offset:
                raise Rewritten
            file.seek(self.offset)
            data = file.read(limit)
        self._at_end = self.offset + len(data) >= self.size
        return self._rows(data)

    def _rows(self, data: bytes) -> list[Line]:
        """What whole lines hold. Bad lines at the very end may be work in progress: the next call sees them again."""
        rows: list[Line] = []
        begin = self.offset
        bad = 0
        for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            row = parse(line)
            if row is None:
                bad += 1
            else:
                rows.append((begin, row))
                self.damaged, bad = self.damaged + bad, 0
                self.offset = begin + len(line)
            begin += len(line)
        if len(data) >= CHUNK and not rows:
            # a megabyte without a good line: it is no journal here, go past it
            self.damaged += 1
            self.offset += len(data)
        return rows


class Rewritten(Exception):  # noqa: N818 (an event, not an error)
    """The journal is shorter than what was read of it: it is another one."""


def parse(line: bytes) -> Row | None:
    """The row of one line, or None if it is not what was written."""
    text, _, code = line.rstrip(b"\n").rpartition(b"\t")
    if code != b"%08x" % crc32(text):
        return None
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("event"), str) else None


def sample(path: Path, pieces: int, piece: int = 4096) -> list[Line]:
    """Rows from evenly spaced places of the file: what a long journal looks like, before it has been read."""
    rows: list[Line] = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for number in range(pieces):
            file.seek(size * number // pieces)
            begin = file.tell() + (len(file.readline()) if number else 0)
            line = file.readline()
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
