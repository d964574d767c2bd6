"""A journal without its training steps, which are nearly all of it: read in a moment where all of it takes minutes."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from afdctl.errors import CorruptError, NotFoundError
from afdctl.events import SCHEMA, Row, effective, intact, malformed, named, refuse_other_schema
from afdctl.journal_rows import parse

STEP = b'{"event":"step"'
"""How the line of a step begins; such lines are passed over unread, except for the last of a sequence."""
SMALL = 4 << 20
"""A journal of more bytes is not read from its beginning where its end suffices."""


def outline(path: Path) -> list[Row]:
    """The effective rows, and of the steps between two others only the last.

    Errors: CorruptError for a bad line with good ones behind it, NotFoundError for no journal or a newer schema.
    """
    with named(path), _opened(path) as file:
        return effective(_rows(path, file))


def ending(path: Path, reach: int = SMALL) -> list[Row]:
    """The first row, and the outline from the last closed epoch on; of a short journal, all of the outline.

    What it leaves out of a long one was written before the training's last steps. Errors: those of `outline`.
    """
    with named(path), _opened(path) as file:
        first = next(_rows(path, file), None)
        size = file.seek(0, 2)
        while first and reach < size:
            file.seek(size - reach)
            file.readline()
            rows = effective([first, *_rows(path, file)])
            if any(row["event"] == "epoch" for row in rows):
                return rows
            reach *= 2
    return outline(path)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no journal; this run has not started") from None


def _rows(path: Path, file: BinaryIO) -> Iterator[Row]:
    """The rows from where the file stands, up to a torn last line."""
    for line in _without_most_steps(file):
        if (text := intact(line)) is None:
            if any(intact(later) for later in file):
                raise CorruptError(f"{path}: a line is damaged; restore the file from a copy")
            return
        try:
            row = parse(text)
        except ValueError as error:
            raise malformed(path, path.read_bytes().find(line), error) from None
        if row["event"] == "run":
            refuse_other_schema(row.get("schema", SCHEMA), path)
        yield row


def _without_most_steps(file: BinaryIO) -> Iterator[bytes]:
    step = b""
    for line in file:
        if not line.endswith(b"\n"):
            break
        if line.startswith(STEP):
            step = line
            continue
        if step:
            yield step
            step = b""
        yield line
    if step:
        yield step
