"""Atomic file writes, and the size of files on disk."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from afdctl.errors import file_errors
from afdctl.formatting import encodable
from afdctl.journal.writing_process import process_exists


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably. On any error (DiskFullError: no space) the old file stays."""
    _write(path, [data])


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its pieces, in UTF-8, as `write_bytes` does; what UTF-8 cannot encode is escaped."""
    _write(path, (encodable(piece).encode() for piece in ([text] if isinstance(text, str) else text)))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with writing(path) as file:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                # an unbuffered write may be short, as on a full disk
                rest = rest[file.write(rest) :]


@contextmanager
def writing(path: Path) -> Iterator[FileIO]:
    """Open an unbuffered temporary file that replaces `path` when the block ends without an error."""
    # the pid keeps processes apart, and shows later whether the writer still lives
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with file_errors(path):
            with FileIO(temporary, "w+") as file:
                yield file
                # before the rename: otherwise a power cut may leave an empty file under the final name
                os.fsync(file.fileno())
            temporary.replace(path)
            # the rename is durable only once the folder is
            _sync_folder(path.parent)
    finally:
        # if it cannot be removed now, `remove_stale_temp_files` does so later; the first error matters more
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_stale_temp_files(folder: Path) -> None:
    """Remove temporary files of dead processes. This process must not write in `folder` meanwhile."""
    for path in folder.glob(".*.tmp"):
        if is_temporary(path) and not _is_other_process(int(path.name.split(".")[-2])):
            path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of a temporary file of `writing`."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; link targets do not count."""
    total = 0
    waiting = [path]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except NotADirectoryError:
            total += path.lstat().st_size
        # another process replaces and removes files meanwhile
        except FileNotFoundError:
            continue
    return total


def _is_other_process(pid: int) -> bool:
    # containers reuse pids: this process's pid in the name of an old file was a dead process's
    return pid != os.getpid() and process_exists(pid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
