"""A row of a wrong shape with a good checksum is found by every reader, with file and line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from afdctl.errors import CorruptError
from afdctl.events import Journal, read
from afdctl.journal_rows import REQUIRED, parse
from afdctl.store.outline import Outline
from tests.tui import journals
from tests.written import run_row, steps

GOOD = {row["event"]: row for row in [*journals.training(), *journals.sweep(9), *journals.sweep(16)]}
Reader = Callable[[Path], Any]


def text_of(row: dict[str, Any]) -> bytes:
    return journals.line(row).split(b"\t")[0]


@pytest.mark.parametrize("event", sorted(set(REQUIRED) & set(GOOD)))
def test_each_required_field_is_missed_and_its_type_checked(event: str):
    row = GOOD[event]
    assert parse(text_of(row)) == row
    for name in REQUIRED[event]:
        lacking = {key: value for key, value in row.items() if key != name}
        for wrong in (lacking, row | {name: ["x"] if name != "cells" else "x"}):
            with pytest.raises(ValueError, match=f"its {event} row has no valid {name}"):
                parse(text_of(wrong))


@pytest.mark.parametrize("text", [b"[]", b"1", b"{}", b'{"event":1}', b"[" * 100_000, b"{"])
def test_what_is_no_row_is_refused(text: bytes):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize("reader", [lambda path: list(read(path)), Outline, Journal.open])
def test_every_reader_names_file_and_line(tmp_path: Path, reader: Reader):
    path = tmp_path / "events.ndjson"
    bad = b'{"event":"end","step":3}'
    lines = [journals.line(row) for row in [run_row(), *steps(1, 3)]]
    path.write_bytes(b"".join([*lines, bad + b"\t%08x\n" % crc32(bad), lines[-1]]))
    with pytest.raises(CorruptError, match=r"events\.ndjson:5: its end row has no valid reason; restore the file"):
        reader(path)
