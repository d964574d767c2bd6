"""Read a journal, whole or while another process writes it."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Final
from zlib import crc32

from afdctl.errors import CorruptError, NotFoundError, file_errors
from afdctl.journal.rows import (
    CRC_BYTES,
    CRC_MEMBER,
    STEP_LINE,
    Line,
    Row,
    Text,
    check_row,
    check_schema,
    encode_row,
    old_schema_row,
    parse_json,
)

CHUNK: Final = 1 << 18
# A line of more bytes is treated as damaged: it might not fit into memory.
MAX_LINE: Final = 1 << 28
LAST_STEPS: Final = inf
NULL: Final = b":null"


class JournalReplaced(Exception):  # noqa: N818 (an event, not an error)
    """The file no longer holds what was read from it: another journal has taken its place."""


class JournalReader:
    """Reads a journal from its beginning; each `read` returns the rows written since the last one.

    Every line is verified. A step that begins fewer than `step_gap` bytes after the last row that was kept is left out,
    unless it is the last of consecutive steps or, with a finite gap, has a value that is not finite. LAST_STEPS leaves
    only those last ones.

    A damaged line with intact ones after it, or a row with wrong fields, raises CorruptError; a `tolerant` reader
    counts such lines in `damaged` and does not check fields. A line begins at byte `begin`; the last intact line ends
    before byte `end`.
    """

    # Between two calls of `read`:
    # - `offset` is where the next read begins; lines before it are done with.
    # - `end` is `offset`, or smaller where the lines from `end` to `offset` are damaged.
    # - `_first_bad` is the first of those lines, None in a tolerant reader, which has counted them. An intact line
    #   after them proves damage; at the end of the file they may be half written: a strict reader returns to `end`.
    # - `_bytes_before_offset` end the last line before `offset`; other bytes there mean that the file was replaced.

    def __init__(
        self,
        path: Path,
        *,
        step_gap: float = 0,
        tolerant: bool = False,
    ) -> None:
        self.path = path
        self.size = 0
        self.offset = self.end = 0
        self.damaged = 0
        self.caught_up = True
        self.step_gap = step_gap
        self._kept = 0
        self._tolerant = tolerant
        self._step: tuple[int, bytes] | None = None
        self._first_bad: int | None = None
        self._bytes_before_offset = b""
        self._next_read_size = 0
        self._seen = (-1, -1)

    def read(self, limit: int = CHUNK) -> list[Line]:
        """Return new rows from about `limit` bytes, more if a line is longer; `caught_up` says if that was all.

        Errors: OSError if the journal cannot be read, JournalReplaced, and those of the class.
        """
        return [
            (begin, row) for begin, text in self._read_texts(limit) if (row := self._parse(begin, text)) is not None
        ]

    def _read_texts(self, limit: int) -> list[Text]:
        # a file that cannot be opened has nothing more to read
        self.caught_up = True
        data = self._read_bytes(limit)
        if data is None:
            return []
        # a line that did not fit into one read is read again with twice as many bytes
        self._next_read_size = 0 if b"\n" in data or len(data) >= MAX_LINE else 2 * len(data)
        texts = self._verify(data)
        if self.caught_up:
            self._take_step(texts)
        return texts

    def read_all(self) -> list[Line]:
        """Return all new rows. Errors: those of `read`."""
        lines = self.read()
        while not self.caught_up:
            lines += self.read()
        return lines

    def _read_bytes(self, limit: int) -> bytes | None:
        """Return the bytes from `offset` on, or None if the file is unchanged since the last call."""
        with self.path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self.size, seen = status.st_size, (status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return None
            file.seek(self.offset - len(self._bytes_before_offset))
            if self.size < self.offset or file.read(len(self._bytes_before_offset)) != self._bytes_before_offset:
                raise JournalReplaced
            data = file.read(max(limit, self._next_read_size))
        self.caught_up = self.offset + len(data) >= self.size
        # an unfinished line at the end may be long: read it again only when the file has changed
        self._seen = seen if self.caught_up else (-1, -1)
        return data

    def _verify(self, data: bytes) -> list[Text]:
        """Return the JSON of whole lines. Bad lines at the end may be half written: the next call reads them again."""
        texts: list[Text] = []
        begin, first_bad, bad = self.offset, self._first_bad, 0
        gap, skipped_until = self.step_gap, self._kept + self.step_gap
        keeps_nulls = gap < LAST_STEPS and NULL in data
        # `verify_line`, inlined and with locals, over a BytesIO, which is faster than `splitlines`: verifying a million
        # steps takes 0.6 s instead of 1.1 s, parsing them 27 s
        member, size, checksum = CRC_MEMBER, CRC_BYTES, crc32
        for line in BytesIO(data):
            text = line[:-size]
            if line.endswith(member % checksum(text)):
                if first_bad is not None:
                    self._report_damage(first_bad, bad)
                    first_bad, bad = None, 0
                if begin < skipped_until and text.startswith(STEP_LINE) and not (keeps_nulls and NULL in text):
                    self._step = begin, text
                else:
                    if self._step and not text.startswith(STEP_LINE):
                        self._take_step(texts)
                    self._step = None
                    texts.append((begin, text))
                    self._kept, skipped_until = begin, begin + gap
            elif begin == 0 and (row := old_schema_row(line)):
                if not self._tolerant:
                    check_schema(row["schema"], self.path)
                texts.append((0, encode_row(row)[0][:-1].encode()))
            elif not line.endswith(b"\n") and len(line) < MAX_LINE:
                break
            else:
                first_bad = begin if first_bad is None else first_bad
                bad += 1
            begin += len(line)
        self._advance(data, begin, first_bad, bad)
        return texts

    def _advance(self, data: bytes, lines_end: int, first_bad: int | None, bad: int) -> None:
        """Move `offset` past what need not be read again; the whole lines of `data` end at `lines_end`.

        `first_bad` is where the damaged lines at their end begin, None if the last line is intact; `data` has `bad`.
        """
        old = self.offset
        if first_bad is None:
            self.end = self.offset = lines_end
        elif first_bad >= old:
            self.end = self.offset = first_bad
        if not self.caught_up:
            # more bytes follow, so the bad lines are not half written
            self.offset = lines_end
            self.damaged += bad
            self._first_bad = None if self._tolerant else first_bad
        elif not self._tolerant:
            self.offset, self._first_bad = self.end, None  # the next writer cuts off what follows
        if self.offset > old:
            length = self.offset - old
            self._bytes_before_offset = data[max(0, length - CRC_BYTES) : length]
        elif self.offset < old:
            self._bytes_before_offset = b""

    def _take_step(self, texts: list[Text]) -> None:
        """Append the last of consecutive steps, if one is waiting."""
        if self._step:
            texts.append(self._step)
            self._step = None

    def _parse(self, begin: int, text: bytes) -> Row | None:
        """Return the checked row; in a tolerant reader the unchecked one, or None for a damaged line."""
        if not self._tolerant:
            return self.checked_row(begin, text)
        if (row := parse_json(text + b"}")) is None:
            self.damaged += 1
        return row

    def checked_row(self, begin: int, text: bytes) -> Row:
        """Return the row of a text; CorruptError for one with wrong fields."""
        try:
            row = check_row(text + b"}")
        except ValueError as error:
            raise CorruptError(f"{self._place(begin)}: {error}; restore the file from a copy") from None
        if row["event"] == "run":
            check_schema(row["schema"], self.path)
        return row

    def _report_damage(self, first_bad: int, bad: int) -> None:
        if not self._tolerant:
            raise CorruptError(f"{self._place(first_bad)}: damaged; restore the file from a copy")
        self.damaged += bad

    def _place(self, offset: int) -> str:
        """Return path and line number of a byte."""
        number = self.path.read_bytes().count(b"\n", 0, offset) + 1
        return f"{self.path}:{number}"


def read_rows(path: Path, *, events: Collection[str] | None = None) -> Iterator[Row]:
    """Yield each row, of these events (default: all); stops before a torn last line.

    Errors: CorruptError, NotFoundError for no journal or one of another schema.
    """
    reader = JournalReader(path)
    reader.caught_up = False
    with strict_errors(path):
        while not reader.caught_up:
            yield from (row for _, row in reader.read() if events is None or row["event"] in events)


@contextmanager
def strict_errors(path: Path) -> Iterator[None]:
    """Raise CorruptError or NotFoundError where a journal cannot be read."""
    try:
        with file_errors(path):
            yield
    except FileNotFoundError:
        raise NotFoundError(f"{path}: missing; restore it from a copy") from None
    except JournalReplaced:
        raise CorruptError(f"{path}: was replaced while it was read; run the command again") from None
