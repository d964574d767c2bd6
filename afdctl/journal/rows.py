"""The rows of a journal: their events and fields, and how a row becomes a line.

A line is one compact JSON object and a line feed. Its last member, `crc`, is the CRC-32 of all bytes before
`,"crc":"`, as 8 hexadecimal digits. docs/journal.md describes every event; a test holds the two lists equal.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from afdctl.errors import NotFoundError

SCHEMA: Final = 3
Row = dict[str, Any]
Check = Callable[[Any], bool]

# Start of a training step's line; nearly all lines of a long run are steps.
STEP_LINE: Final = b'{"event":"step"'
CRC_MEMBER: Final = b',"crc":"%08x"}\n'
CRC_BYTES: Final = len(CRC_MEMBER % 0)
# A line of schema 2 and older: JSON, a tab, the CRC of the JSON.
OLD_LINE: Final = re.compile(rb"(\{.*\})\t([0-9a-f]{8})\n")
OLD_SCHEMA: Final = 2

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _is(*types: type) -> Check:
    return lambda value: type(value) in types


def _array_of(item: Check) -> Check:
    return lambda value: type(value) is list and all(map(item, value))


def _object_with(**members: Check) -> Check:
    return lambda value: (
        type(value) is dict and all(name in value and check(value[name]) for name, check in members.items())
    )


# The types of fields, by the names that docs/journal.md uses.
TYPES: Final[Mapping[str, Check]] = {
    "integer": _is(int),
    "number": _is(int, float),
    "string": _is(str),
    "boolean": _is(bool),
    "object": _is(dict),
    "array": _is(list),
    "integer or null": _is(int, type(None)),
    "number or null": _is(int, float, type(None)),
    "string or null": _is(str, type(None)),
    "object or null": _is(dict, type(None)),
    "array of strings": _array_of(_is(str)),
    "array of numbers or null": lambda value: value is None or _array_of(_is(int, float))(value),
    "object with train, holdout, test": _object_with(train=_is(int), holdout=_is(int), test=_is(int)),
    "object with name": _object_with(name=_is(str)),
}

_TOTALS: Final = {"epochs": "integer", "steps_per_epoch": "integer", "steps_total": "integer"}
_ATTACK: Final = {"attack": "string", "norm": "string", "source": "string or null"}
_STEP_METRICS: Final = (
    *("lr_C", "lr_D", "lr_F", "attack_steps", "progress", "images_per_s"),
    *("L_C", "L_D", "L_F", "kl", "sensitivity", "grad_C", "grad_D", "grad_F"),
    *("acc_nat", "acc_adv", "fraction_unchanged"),
    *("d_accuracy", "d_acc_nat", "d_acc_adv", "alpha_h", "alpha_h_calibrated", "d_hdh", "d_hdh_calibrated"),
)

# Event -> field -> type; a row may lack fields that end in "?". Every row also has `event` and `t`.
EVENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "run": {
        "schema": "integer",
        "name": "string",
        "recipe": "object",
        "device": "string",
        "parameters": "integer",
        **_TOTALS,
        "classes": "integer",
        "images": "object with train, holdout, test",
    },
    "resume": {"step": "integer", "epoch": "integer", **_TOTALS},
    "cost": {
        "step?": "integer",
        "flop?": "object",
        "attack_step_flop?": "integer",
        "batch_size?": "integer",
        "product_flop_per_s?": "number or null",
        "dtype?": "string",
        "floor_seconds?": "number or null",
    },
    "step": {"step": "integer", "epoch": "integer", **{f"{name}?": "number or null" for name in _STEP_METRICS}},
    "epoch": {
        "step": "integer",
        "epoch": "integer",
        "best": "boolean",
        "acc_nat?": "number",
        "acc_adv?": "number",
        "acc_square?": "number",
        "n?": "integer",
        "seconds?": "number",
    },
    "checkpoint": {"step": "integer", "epoch": "integer", "file": "string", "digest": "string", "best": "boolean"},
    "test": {
        "step?": "integer",
        "checkpoint": "string",
        "checkpoint_step": "integer",
        "attack": "string",
        "acc_nat": "number",
        "acc_adv": "number",
        "acc_square?": "number",
        "n": "integer",
        "split_n?": "integer",
    },
    "warning": {"step?": "integer", "message": "string"},
    "end": {"step?": "integer", "reason": "string", "exit_code": "integer", "message": "string or null"},
    "sanity_check": {
        "checkpoint": "string",
        "data": "string",
        "version": "integer",
        "n?": "integer",
        "warnings": "array of strings",
    },
    "sweep": {"suite?": "string", "n?": "integer", "seed?": "integer", "cells": "array", "done?": "array"},
    "sweep_part": {
        **_ATTACK,
        "task": "string",
        "first": "integer",
        "done": "integer",
        "n": "integer",
        "accuracy": "object",
        "seconds": "number",
        "shard": "string",
        "images": "boolean",
    },
    "sweep_progress": {**_ATTACK, "done": "integer", "n": "integer", "accuracy": "object", "seconds?": "number"},
    "cell": {
        **_ATTACK,
        "key": "string",
        "epsilon": "number",
        "schedule": "string",
        "spec": "object with name",
        "grid": "array of numbers or null",
        "suite": "string",
        "changed": "array of strings",
        "precision": "string",
        "checkpoint": "string",
        "source_checkpoint?": "string or null",
        "n": "integer",
        "split_n?": "integer",
        "seed": "integer",
        "acc_nat": "number",
        "accuracy": "number",
        "low": "number",
        "high": "number",
        "forwards": "integer",
        "backwards": "integer",
        "seconds": "number",
        "shard": "string",
        "images": "boolean",
        "last?": "number",
    },
    "sweep_end": {"reason": "string", "exit_code": "integer"},
    "features": {
        "key": "string",
        "shard": "string",
        "n": "integer",
        "attack": "string or null",
        "norm?": "string or null",
        "epsilon": "number",
        "seed?": "integer or null",
        "spec?": "object or null",
        "checkpoint": "string",
        "data?": "string",
        "seconds?": "number",
    },
    "analysis": {
        "name": "string",
        "key": "string",
        "checkpoint": "string",
        "n": "integer",
        "points?": "integer or null",
        "changed?": "array of strings",
        "seed": "integer",
        "metrics": "object",
        "shard": "string or null",
        "features": "array",
        "seconds?": "number",
    },
}

REQUIRED: Final[Mapping[str, Mapping[str, Check]]] = {
    event: {"t": TYPES["number"]} | {name: TYPES[kind] for name, kind in fields.items() if name[-1] != "?"}
    for event, fields in EVENTS.items()
}
OPTIONAL: Final[Mapping[str, Mapping[str, Check]]] = {
    event: {name[:-1]: TYPES[kind] for name, kind in fields.items() if name[-1] == "?"}
    for event, fields in EVENTS.items()
}
# Events whose values are numbers, booleans or null, except for this many strings (`event` is one).
# A defense may add metrics of any name to a step.
STRINGS_IN_NUMERIC_ROW: Final = {"step": 1, "epoch": 1, "test": 3}
_NUMERIC: Final = frozenset({int, float, bool, type(None), str})
# An epoch has both of these or, without a hold-out split, neither.
_VALIDATION: Final = {"acc_nat": TYPES["number"], "acc_adv": TYPES["number"]}


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
        row = json.loads(text)
    except (ValueError, RecursionError):
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
    try:
        row = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(row) is not dict or type(event := row.get("event")) is not str:
        raise ValueError("not an object with an event")
    if event == "run" and type(schema := row.get("schema")) is int and schema != SCHEMA:
        return row
    _check_fields(row, REQUIRED.get(event, {"t": TYPES["number"]}))
    if event in STRINGS_IN_NUMERIC_ROW:
        types = list(map(type, row.values()))
        if types.count(str) != STRINGS_IN_NUMERIC_ROW[event] or not _NUMERIC.issuperset(types):
            raise ValueError(f"its {event} row has a value that is not a number")
    # a step's optional fields are metrics, which were just checked
    if event != "step" and (optional := OPTIONAL.get(event)):
        _check_fields(row, {name: check for name, check in optional.items() if name in row})
    if event == "epoch" and not _VALIDATION.keys().isdisjoint(row):
        _check_fields(row, _VALIDATION)
    return row


def check_schema(schema: int, path: Path) -> None:
    """Raise NotFoundError if another version of afdctl wrote `path`."""
    if schema > SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; upgrade afdctl")
    if schema < SCHEMA:
        raise NotFoundError(f"{path}: has schema {schema}, this afdctl reads {SCHEMA}; train again")


def replace_nonfinite(value: Any) -> Any:
    """Return the value with None for each NaN and infinity in it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    return [replace_nonfinite(item) for item in value] if isinstance(value, list | tuple) else value


def _check_fields(row: Row, checks: Mapping[str, Check]) -> None:
    for name, check in checks.items():
        if name not in row or not check(row[name]):
            raise ValueError(f"its {row['event']} row has no valid {name}")
