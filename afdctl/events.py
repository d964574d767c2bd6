"""The journal of a run, `events.ndjson`: append-only, one writer, any number of readers.

A line is compact JSON, a tab, the CRC-32 of the JSON as 8 hexadecimal digits, and a line feed.
"""

import errno
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from afdctl.errors import BusyError, CorruptError, DiskFullError, NotFoundError

SCHEMA = 1
Row = dict[str, Any]

STEP = b'{"event":"step"'
"""How the line of a training step begins. Nearly all lines of a long run are such."""
CODE = 10
"""Bytes at the end of a line: a tab, the CRC and the line feed."""
SYNC_SECONDS = 2.0
LOCK_SECONDS = 0.2
NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}

_flush = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@contextmanager
def space_needed(path: Path) -> Iterator[None]:
    """Turn the system's "no space" errors into a DiskFullError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFullError(
            f"{path}: {error.strerror}; free some space, then go on: a training with --resume, a sweep as before"
        ) from error


def refuse_newer(schema: int, path: Path) -> None:
    """Raise NotFoundError where a later version of afdctl wrote `path`."""
    if schema > SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads up to {SCHEMA}; upgrade afdctl")


class Journal:
    """The writer; it holds the lock from `open` to `close`.

    `offset` counts the bytes of all lines; `on_line` is called with the JSON text of each line after it is written.
    """

    def __init__(self, path: Path, descriptor: int, offset: int, closing: ExitStack) -> None:
        self.path = path
        self.offset = offset
        self.on_line: Callable[[str], None] | None = None
        self._descriptor = descriptor
        self._closing = closing
        self._sync_due = time.monotonic() + SYNC_SECONDS

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the journal (BusyError if another process holds it) and cut off what lies behind the last good line."""
        with ExitStack() as stack:
            stack.callback(os.close, _lock(path))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            offset = max((end for _, end in tail(path, sparse=True)), default=0)
            os.ftruncate(descriptor, offset)
            return cls(path, descriptor, offset, stack.pop_all())

    def append(self, event: str, **fields: Any) -> None:
        """Write one row."""
        self.extend([{"event": event, **fields}])

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write many rows at once, all or (DiskFullError) none; a row names its `event`, and may bring its own `t`."""
        now = round(time.time(), 3)
        texts = [_encode({"event": row["event"], "t": now, **row}) for row in rows]
        self._write("".join(f"{text}\t{crc32(text.encode()):08x}\n" for text in texts).encode())
        if time.monotonic() >= self._sync_due:
            self.sync()
        if self.on_line:
            for text in texts:
                self.on_line(text)

    def _write(self, data: bytes) -> None:
        end = self.offset
        try:
            with space_needed(self.path):
                while rest := data[end - self.offset :]:
                    end += os.pwrite(self._descriptor, rest, end)
            self.offset = end
        except BaseException:
            # half a line would spoil the next one
            os.ftruncate(self._descriptor, self.offset)
            raise

    def sync(self) -> None:
        """Make every row outlive a power cut; it also happens by itself at most every two seconds."""
        with space_needed(self.path):
            _flush(self._descriptor)
        self._sync_due = time.monotonic() + SYNC_SECONDS

    def close(self) -> None:
        """Sync, and let go of the lock."""
        with self._closing:
            self.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tail(path: Path, offset: int = 0, *, sparse: bool = False) -> Iterator[tuple[Row, int]]:
    """Each row from byte `offset` on, with the offset behind its line, where a later call goes on.

    Every line is verified. `sparse`: of steps that follow each other only the last is parsed, which is all that most
    readers need: parsing takes twenty times as long as verifying. It stops before a torn last line. Errors:
    CorruptError for a bad line with good ones behind it, NotFoundError for no journal or one of a newer schema.
    """
    for text, end in _lines(path, offset, sparse):
        row: Row = json.loads(text)
        if row["event"] == "run":
            refuse_newer(row.get("schema", SCHEMA), path)
        yield row, end


def read(path: Path, offset: int = 0, *, sparse: bool = False) -> Iterator[Row]:
    """Each row from byte `offset` on, as `tail` reads them."""
    return (row for row, _ in tail(path, offset, sparse=sparse))


class Reader:
    """The rows of a journal as `sparse` has them; each look reads only what was written since the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._offset = 0

    def look(self, event: str) -> list[Row]:
        """All rows of a kind until now; none where there is no journal yet."""
        if self.path.exists():
            for row, end in tail(self.path, self._offset, sparse=True):
                self.rows.append(row)
                self._offset = end
        return [row for row in self.rows if row["event"] == event]


def _lines(path: Path, offset: int, sparse: bool) -> Iterator[tuple[bytes, int]]:
    """The JSON text of lines from byte `offset` on, with the offset behind each. See `tail`, which parses them."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no journal; this run has not started") from None
    with file:
        file.seek(offset)
        step, behind = b"", offset
        for line in file:
            text = line[:-CODE]
            # `intact`, spelled out: there are millions of lines
            if line[-CODE:] != b"\t%08x\n" % crc32(text):
                # no line feed: the writer is at it or died there, and what comes into the file meanwhile does not count
                if line.endswith(b"\n") and any(intact(later) for later in file):
                    raise CorruptError(f"{path}:{_line_number(path, offset)}: damaged; restore the file from a copy")
                break
            offset += len(line)
            if sparse and text.startswith(STEP):
                step, behind = text, offset
                continue
            if step:
                yield step, behind
                step = b""
            yield text, offset
        if step:
            yield step, behind


def intact(line: bytes) -> bytes | None:
    """The JSON text of a whole line, or None if it is not what was written."""
    text = line[:-CODE]
    return text if line[-CODE:] == b"\t%08x\n" % crc32(text) else None


def beyond_pgd(accuracy: Any) -> str:
    """Words that follow a validation's or a test's PGD accuracy: its `acc_square`, where Square ran."""
    return f", then Square {accuracy:.1%}" if isinstance(accuracy, int | float) else ""


def alive(path: Path) -> int | None:
    """The pid of the process that writes the journal, or None."""
    with suppress(FileNotFoundError), _lock_path(path).open("rb") as file:
        try:
            # shared: readers do not see each other, and a writer that starts now tries again
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0)
    return None


def refuse_busy(path: Path) -> None:
    """Raise BusyError where a process writes the journal."""
    if alive(path) is not None:
        raise _busy(path)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    """The descriptor that holds the lock until it is closed or the process ends."""
    descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, 0o666)
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience:
                os.close(descriptor)
                raise _busy(path) from None
            time.sleep(0.01)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            return descriptor


def _busy(path: Path) -> BusyError:
    lock = _lock_path(path)
    pid, since = lock.read_text().strip(), time.strftime("%H:%M", time.localtime(lock.stat().st_mtime))
    name = path.resolve().parent.name
    return BusyError(
        f"run {name} is being written by pid {pid} since {since}; `afdctl watch {name}` shows it, `kill {pid}` stops it"
    )


def _encode(row: Row) -> str:
    try:
        return _encoder.encode(row)
    except ValueError:
        return _encoder.encode(finite(row))


def finite(value: Any) -> Any:
    """The value with None for each NaN and infinity in it, as it stands in the journal."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def _line_number(path: Path, offset: int) -> int:
    return path.read_bytes().count(b"\n", 0, offset) + 1
