"""Files that are there completely or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from afdctl.formatting import encodable
from afdctl.journal import named


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`, durably and in one go; on any error (DiskFullError: no space) the old file stays."""
    with writing(path) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


def write_text(path: Path, text: str) -> None:
    """Put text at `path` in UTF-8, as by `write_bytes`; what UTF-8 cannot hold is escaped."""
    write_bytes(path, encodable(text).encode())


@contextmanager
def writing(path: Path) -> Iterator[FileIO]:
    """A file to write what belongs at `path`, where it is put at the end as by `write_bytes`. It has no buffer."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with named(path):
            with FileIO(temporary, "w+") as file:
                yield file
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        # a file that cannot be removed either is swept away later, and must not hide the error
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_stale_temp_files(folder: Path) -> None:
    """Remove the temporary files that dead processes left in `folder`; call it while this process writes none there."""
    for path in folder.glob(".*.tmp"):
        if is_temporary(path) and not _other_process(int(path.name.split(".")[-2])):
            path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that `writing` gives to a file until it is complete."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


def _other_process(pid: int) -> bool:
    # a container gives the same pid to each of its runs: our own number on an old file is a dead process's
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
