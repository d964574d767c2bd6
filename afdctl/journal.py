"""The journal of a run, `events.ndjson`: append-only, one writer, any number of readers.

A line is compact JSON, a tab, the CRC-32 of the JSON as 8 hexadecimal digits, and a line feed.
"""

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

from afdctl import journal_rows
from afdctl.errors import NO_SPACE, BusyError, CorruptError, DiskFullError, NotFoundError

SCHEMA = journal_rows.SCHEMA
Row = dict[str, Any]

STEP = b'{"event":"step"'
"""How the line of a training step begins. Nearly all lines of a long run are such."""
CODE = 10
"""Bytes at the end of a line: a tab, the CRC and the line feed."""
SYNC_SECONDS = 2.0
LOCK_SECONDS = 0.2

_flush = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync
_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let every OSError name `path`, and make the system's "no space" errors a DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"{path}: {error.strerror}; {DiskFullError.remedy}") from error
        # errors of reading and writing name no file, and those of replacing one name a temporary file
        if error.filename is None or str(error.filename).endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise


def check_schema(schema: int, path: Path) -> None:
    """Raise NotFoundError where another version of afdctl wrote `path`."""
    if schema > SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; upgrade afdctl")
    if schema < SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; train again")


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
        self._closed = False
        self._sync_due = time.monotonic() + SYNC_SECONDS

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the journal (BusyError if another process holds it) and cut off what lies behind the last good line."""
        with ExitStack() as stack:
            stack.callback(os.close, _lock(path))
            stack.enter_context(named(path))
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            offset = max((end for _, end in tail(path, sparse=True)), default=0)
            os.ftruncate(descriptor, offset)
            return cls(path, descriptor, offset, stack.pop_all())

    def clear(self) -> None:
        """Remove every row."""
        with named(self.path):
            os.ftruncate(self._descriptor, 0)
        self.offset = 0

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
            with named(self.path):
                while rest := data[end - self.offset :]:
                    end += os.pwrite(self._descriptor, rest, end)
            self.offset = end
        except BaseException:
            # half a line would spoil the next one; where it stays, the next writer cuts it off
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.offset)
            raise

    def sync(self) -> None:
        """Make every row outlive a power cut; it also happens by itself at most every two seconds."""
        with named(self.path):
            _flush(self._descriptor)
        self._sync_due = time.monotonic() + SYNC_SECONDS

    def close(self) -> None:
        """Sync, and let go of the lock; a second call does nothing."""
        if not self._closed:
            self._closed = True
            with self._closing:
                self.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.close()
        except (OSError, DiskFullError):
            # what went wrong before is what its user must know
            if error is None:
                raise


def tail(path: Path, offset: int = 0, *, sparse: bool = False) -> Iterator[tuple[Row, int]]:
    """Each row from byte `offset` on, with the offset behind its line, where a later call goes on.

    Every line is verified. `sparse`: of steps that follow each other only the last is parsed, which is all that most
    readers need: parsing takes twenty times as long as verifying. It stops before a torn last line. Errors:
    CorruptError for a bad line with good ones behind it or a row of a wrong shape, NotFoundError for no journal or for
    one of another schema.
    """
    for text, end in _lines(path, offset, sparse):
        try:
            row = journal_rows.parse(text)
        except ValueError as error:
            begin = end - len(text) - CODE
            raise CorruptError(f"{path}:{_line_number(path, begin)}: {error}; restore the file from a copy") from None
        if row["event"] == "run":
            check_schema(row["schema"], path)
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
        raise NotFoundError(f"{path}: missing; restore it from a copy") from None
    with named(path), file:
        file.seek(offset)
        step, behind = b"", offset
        for line in file:
            text = line[:-CODE]
            # `intact`, spelled out: there are millions of lines
            if line[-CODE:] != b"\t%08x\n" % crc32(text):
                # no line feed: the writer is at it or died there, and what comes into the file meanwhile does not count
                if line.endswith(b"\n") and any(verify_crc(later) for later in file):
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


def verify_crc(line: bytes) -> bytes | None:
    """The JSON text of a whole line, or None if it is not what was written."""
    text = line[:-CODE]
    return text if line[-CODE:] == b"\t%08x\n" % crc32(text) else None


def format_square_accuracy(accuracy: Any) -> str:
    """Words that follow a validation's or a test's PGD accuracy: its `acc_square`, where Square ran."""
    return f", then Square {accuracy:.1%}" if isinstance(accuracy, int | float) else ""


def writer_pid(path: Path) -> int | None:
    """The pid of the process that writes the journal, or None."""
    with suppress(FileNotFoundError), _lock_path(path).open("rb") as file:
        try:
            # shared: readers do not see each other, and a writer that starts now tries again
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0)
    return None


def check_not_busy(path: Path) -> None:
    """Raise BusyError where a process writes the journal."""
    if writer_pid(path) is not None:
        raise _busy(path)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    """The descriptor that holds the lock until it is closed or the process ends."""
    lock = _lock_path(path)
    patience = time.monotonic() + LOCK_SECONDS
    with ExitStack() as stack, named(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(os.close, descriptor)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > patience:
                    raise _busy(path) from None
                time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        stack.pop_all()
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
        return _encoder.encode(replace_nonfinite(row))


def replace_nonfinite(value: Any) -> Any:
    """The value with None for each NaN and infinity in it, as it stands in the journal."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    return [replace_nonfinite(item) for item in value] if isinstance(value, list | tuple) else value


def _line_number(path: Path, offset: int) -> int:
    return path.read_bytes().count(b"\n", 0, offset) + 1
