"""The lines of a journal: encode, verify, parse and check a row, or read those at some place of the file.

A line is one compact JSON object and a line feed. Its last member, `crc`, is the CRC-32 of all bytes before
`,"crc":"`, as 8 hexadecimal digits.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from afdctl.errors import NotFoundError
from afdctl.journal.events import (
    NUMERIC_TYPES,
    OPTIONAL,
    REQUIRED,
    SCHEMA,
    STRINGS_IN_NUMERIC_ROW,
    TYPES,
    VALIDATION_FIELDS,
    Check,
)

Row = dict[str, Any]
# The byte at which a line begins, and its row without the checksum.
Line = tuple[int, Row]
# The same with its JSON without the closing brace instead of the row.
Text = tuple[int, bytes]
# The byte at which the first of many lines begins, and these lines.
Lines = tuple[int, bytes]

# Start of a training step's line; nearly all lines of a long run are steps.
STEP_LINE: Final = b'{"event":"step"'
CRC_MEMBER: Final = b',"crc":"%08x"}\n'
CRC_BYTES: Final = len(CRC_MEMBER % 0)
# A line of schema 2 and older: JSON, a tab, the CRC of the JSON.
OLD_LINE: Final = re.compile(rb"(\{.*\})\t([0-9a-f]{8})\n")
OLD_SCHEMA: Final = 2

MAX_SAMPLED_LINE: Final = 1 << 18
TAIL_BYTES: Final = 1 << 18

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encode_row(row: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return a row as JSON without the checksum, and as its line. NaN and infinity become null."""
    try:
        text = _encoder.encode(row)
    except ValueError:
        text = _encoder.encode(replace_nonfinite(row))
    begin = text[:-1].encode()
    return text, begin + CRC_MEMBER % crc32(begin)


def verify_line(line: bytes) -> bytes | None:
    """Return the JSON of an intact line without its checksum, or None."""
    begin = line[:-CRC_BYTES]
    return begin + b"}" if line[-CRC_BYTES:] == CRC_MEMBER % crc32(begin) else None


def parse_line(line: bytes) -> Row | None:
    """Return the row of an intact line with an event, its fields unchecked, or None."""
    text = verify_line(line)
    return parse_json(text) if text else old_schema_row(line)


def parse_json(text: bytes) -> Row | None:
    """Return the row of a line's JSON, its fields unchecked; None if it is not an object with an event."""
    try:
        row = parse_value(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("event"), str) else None


def old_schema_row(line: bytes) -> Row | None:
    """Return event `run` and the schema for an intact line of schema 2 or older, or None for any other line."""
    match = OLD_LINE.fullmatch(line)
    if not match or match[2] != b"%08x" % crc32(match[1]):
        return None
    row = parse_json(match[1]) or {}
    schema = row.get("schema", OLD_SCHEMA)
    return {"event": "run", "schema": schema if type(schema) is int and schema < SCHEMA else OLD_SCHEMA}


def check_row(text: bytes) -> Row:
    """Return the row of a line's JSON. ValueError names the first field that is missing or has a wrong type.

    A checksum proves that a line is what was written, not that this version wrote it. A `run` row of another schema is
    returned unchecked, so that the caller finds the schema.
    """
    row = parse_value(text)
    if type(row) is not dict or type(event := row.get("event")) is not str:
        raise ValueError("not an object with an event")
    if event == "run" and type(schema := row.get("schema")) is int and schema != SCHEMA:
        return row
    _check_fields(row, REQUIRED.get(event, {"t": TYPES["number"]}))
    if event in STRINGS_IN_NUMERIC_ROW:
        types = list(map(type, row.values()))
        strings = types.count(str) - ("subset" in row)
        if strings != STRINGS_IN_NUMERIC_ROW[event] or not NUMERIC_TYPES.issuperset(types):
            raise ValueError(f"its {event} row has a value that is not a number")
    # a step's optional fields are metrics, which were just checked
    if event != "step" and (optional := OPTIONAL.get(event)):
        _check_fields(row, {name: check for name, check in optional.items() if name in row})
    if event == "epoch" and not VALIDATION_FIELDS.keys().isdisjoint(row):
        _check_fields(row, VALIDATION_FIELDS)
    return row


def check_schema(schema: int, path: Path) -> None:
    """Raise NotFoundError if another version of afdctl wrote `path`."""
    if schema > SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; upgrade afdctl")
    if schema < SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; train or evaluate again")


def replace_nonfinite(value: Any) -> Any:
    """Return the value with None for each NaN and infinity in it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    return [replace_nonfinite(item) for item in value] if isinstance(value, list | tuple) else value


def sample(path: Path, count: int) -> list[Line]:
    """Return intact rows from `count` evenly spaced places of a file and from its end, unchecked, in order.

    It shows what a long journal looks like before all of it has been read.
    """
    lines: list[Line] = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        for number in range(count):
            file.seek(size * number // count)
            begin = file.tell() + (len(file.readline(MAX_SAMPLED_LINE)) if number else 0)
            line = file.readline(MAX_SAMPLED_LINE)
            if begin < size and (not lines or begin > lines[-1][0]) and (row := parse_line(line)):
                lines.append((begin, row))
    last = lines[-1][0] if lines else -1
    return lines + [(begin, row) for begin, row in read_tail(path) if begin > last]


def read_tail(path: Path, size: int = TAIL_BYTES) -> list[Line]:
    """Return the intact rows in the last `size` bytes of a file, unchecked; damaged lines are left out."""
    with path.open("rb") as file:
        begin = max(0, file.seek(0, 2) - size)
        file.seek(begin)
        begin += len(file.readline()) if begin else 0
        lines = []
        for line in file:
            if row := parse_line(line):
                lines.append((begin, row))
            begin += len(line)
    return lines


def rows_between(path: Path, begin: int, end: int, limit: int = 4096) -> list[Row]:
    """Return at most `limit` rows whose lines begin in the bytes from `begin` to `end`, unchecked."""
    rows: list[Row] = []
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if row := parse_line(line):
                rows.append(row)
            begin += len(line)
            if begin >= end or len(rows) >= limit:
                break
    return rows


def parse_value(text: bytes) -> Any:
    """Return the value of a JSON text. Error: ValueError."""
    try:
        return orjson.loads(text)
    except ValueError:
        pass
    # orjson refuses the escapes of a path that is not UTF-8
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _check_fields(row: Row, checks: Mapping[str, Check]) -> None:
    for name, check in checks.items():
        if name not in row or not check(row[name]):
            raise ValueError(f"its {row['event']} row has no valid {name}")
