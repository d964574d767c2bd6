"""A malformed row with a valid checksum is found by every reader, with file and line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from afdctl.errors import CorruptError
from afdctl.journal import Journal, JournalOutline, read_rows
from afdctl.journal.events import REQUIRED
from afdctl.journal.rows import check_row, encode_row, parse_line
from tests.journals import run_row, sealed, steps
from tests.tui import journals

CHECK = {"event": "sanity_check", "t": 1.0, "checkpoint": "0" * 64, "data": "d", "version": 1, "warnings": ["masked"]}
GOOD = {row["event"]: row for row in [*journals.training(), *journals.sweep(9), *journals.sweep(16), CHECK]}
Reader = Callable[[Path], Any]


def text_of(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()


@pytest.mark.parametrize("event", sorted(set(REQUIRED) & set(GOOD)))
def test_each_required_field_is_missed_and_its_type_checked(event: str):
    row = GOOD[event]
    assert check_row(text_of(row)) == row
    for name in REQUIRED[event]:
        lacking = {key: value for key, value in row.items() if key != name}
        for wrong in (lacking, row | {name: [None] if name != "cells" else 5}):
            with pytest.raises(ValueError, match=f"its {event} row has no valid {name}"):
                check_row(text_of(wrong))


@pytest.mark.parametrize(
    ("event", "change", "complaint"),
    [
        ("run", {"schema": "3"}, "schema"),
        ("run", {"schema": None}, "schema"),
        ("run", {"images": {"train": 1, "test": 1}}, "images"),
        ("cell", {"changed": 5}, "changed"),
        ("cell", {"changed": [5]}, "changed"),
        ("cell", {"spec": {}}, "spec"),
        ("cell", {"split_n": "all"}, "split_n"),
        ("sanity_check", {"warnings": [3]}, "warnings"),
        ("epoch", {"acc_adv": None}, "acc_adv"),
        ("test", {"acc_square": None}, "acc_square"),
        ("cost", {"t": "now"}, "t"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(event: str, change: dict[str, Any], complaint: str):
    row = GOOD.get(event, {"event": event, "t": 1.0})
    with pytest.raises(ValueError, match=f"its {event} row has no valid {complaint}"):
        check_row(text_of(row | change))


def test_a_path_that_is_not_utf8_is_read_as_it_was_written():
    row = {"event": "warning", "t": 1.0, "message": "caf\udce9"}
    text, line = encode_row(row)
    assert check_row(text.encode()) == row == parse_line(line)


@pytest.mark.parametrize("event", ["step", "epoch", "test"])
@pytest.mark.parametrize("value", [[1], {}, "x"])
def test_tables_of_a_training_hold_numbers_only(event: str, value: Any):
    with pytest.raises(ValueError, match=f"its {event} row has a value that is not a number"):
        check_row(text_of(GOOD[event] | {"L_C": value}))


def test_an_epoch_without_a_hold_out_has_no_accuracies():
    row = {name: value for name, value in GOOD["epoch"].items() if not name.startswith("acc_")}
    assert check_row(text_of(row)) == row
    with pytest.raises(ValueError, match="its epoch row has no valid acc_adv"):
        check_row(text_of(row | {"acc_nat": 0.5}))


def test_the_first_row_of_another_schema_is_read_whatever_it_holds():
    assert check_row(b'{"event":"run","schema":9}') == {"event": "run", "schema": 9}


@pytest.mark.parametrize("text", [b"[]", b"1", b"{}", b'{"event":1}', b"[" * 100_000, b"{"])
def test_json_that_is_no_row_is_refused(text: bytes):
    with pytest.raises(ValueError, match=r"."):
        check_row(text)


@pytest.mark.parametrize("reader", [lambda path: list(read_rows(path)), JournalOutline, Journal.open])
def test_every_reader_names_file_and_line_of_a_malformed_row(tmp_path: Path, reader: Reader):
    path = tmp_path / "events.ndjson"
    bad = b'{"event":"end","t":1.5,"step":3}'
    lines = [journals.line(row) for row in [row | {"t": 1.0} for row in [run_row(), *steps(1, 3)]]]
    path.write_bytes(b"".join([*lines, sealed(bad), lines[-1]]))
    with pytest.raises(CorruptError, match=r"events\.ndjson:5: its end row has no valid reason; restore the file"):
        reader(path)
