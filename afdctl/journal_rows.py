"""The shape of a journal's rows: the fields that readers rely on, and their types.

A checksum proves that a line is what was written, not that a writer of this version wrote it. Fields that are not named
here may be there or not.
"""

import json
from collections.abc import Callable
from typing import Any

SCHEMA = 2
Check = Callable[[Any], bool]


def _one_of(*types: type) -> Check:
    return lambda value: type(value) in types


def _list_of(check: Check, *, or_none: bool = False) -> Check:
    return lambda value: (or_none and value is None) or (type(value) is list and all(map(check, value)))


def _table_of(**checks: Check) -> Check:
    return lambda value: (
        type(value) is dict and all(name in value and fits(value[name]) for name, fits in checks.items())
    )


WHOLE = _one_of(int)
NUMBER = _one_of(int, float)
TEXT = _one_of(str)
TEXT_OR_NONE = _one_of(str, type(None))
TRUTH = _one_of(bool)
TABLE = _one_of(dict)
LIST = _one_of(list)
TEXTS = _list_of(TEXT)
NUMBERS_OR_NONE = _list_of(NUMBER, or_none=True)

TIME = {"t": NUMBER}
ATTACK = {"attack": TEXT, "norm": TEXT, "source": TEXT_OR_NONE}
TOTALS = {"epochs": WHOLE, "steps_per_epoch": WHOLE, "steps_total": WHOLE}
REQUIRED: dict[str, dict[str, Check]] = {
    event: TIME | fields
    for event, fields in {
        "run": {
            "schema": WHOLE,
            "name": TEXT,
            "recipe": TABLE,
            "device": TEXT,
            "parameters": WHOLE,
            **TOTALS,
            "classes": WHOLE,
            "images": _table_of(train=WHOLE, holdout=WHOLE, test=WHOLE),
        },
        "resume": {"step": WHOLE, "epoch": WHOLE, **TOTALS},
        "step": {"step": WHOLE, "epoch": WHOLE},
        "epoch": {"step": WHOLE, "epoch": WHOLE, "best": TRUTH},
        "checkpoint": {"step": WHOLE, "epoch": WHOLE, "file": TEXT, "digest": TEXT, "best": TRUTH},
        "test": {
            "checkpoint": TEXT,
            "of_step": WHOLE,
            "attack": TEXT,
            "acc_nat": NUMBER,
            "acc_adv": NUMBER,
            "n": WHOLE,
        },
        "warning": {"message": TEXT},
        "end": {"reason": TEXT, "exit_code": WHOLE, "message": TEXT_OR_NONE},
        "check": {"checkpoint": TEXT, "data": TEXT, "version": WHOLE, "warnings": TEXTS},
        "sweep": {"cells": LIST},
        "part": {
            "task": TEXT,
            "first": WHOLE,
            "done": WHOLE,
            "n": WHOLE,
            "accuracy": TABLE,
            "seconds": NUMBER,
            "shard": TEXT,
            "images": TRUTH,
            **ATTACK,
        },
        "progress": {"done": WHOLE, "n": WHOLE, "accuracy": TABLE, **ATTACK},
        "cell": {
            "key": TEXT,
            "epsilon": NUMBER,
            "schedule": TEXT,
            "spec": _table_of(name=TEXT),
            "grid": NUMBERS_OR_NONE,
            "suite": TEXT,
            "changed": TEXTS,
            "precision": TEXT,
            "checkpoint": TEXT,
            "n": WHOLE,
            "seed": WHOLE,
            "acc_nat": NUMBER,
            "accuracy": NUMBER,
            "low": NUMBER,
            "high": NUMBER,
            "forwards": WHOLE,
            "backwards": WHOLE,
            "seconds": NUMBER,
            "shard": TEXT,
            "images": TRUTH,
            **ATTACK,
        },
        "swept": {"reason": TEXT, "exit_code": WHOLE},
        "features": {
            "key": TEXT,
            "shard": TEXT,
            "n": WHOLE,
            "attack": TEXT_OR_NONE,
            "epsilon": NUMBER,
            "checkpoint": TEXT,
        },
        "analysis": {
            "name": TEXT,
            "key": TEXT,
            "checkpoint": TEXT,
            "n": WHOLE,
            "seed": WHOLE,
            "figures": TABLE,
            "shard": TEXT_OR_NONE,
            "features": LIST,
        },
    }.items()
}
"""Event -> required field -> whether a value fits. An event that is not here needs its time only."""
OPTIONAL: dict[str, dict[str, Check]] = {
    "test": {"acc_square": NUMBER, "split_n": WHOLE},
    "epoch": {"acc_square": NUMBER},
    "cell": {"split_n": WHOLE, "source_checkpoint": TEXT_OR_NONE},
    "analysis": {"changed": TEXTS, "points": _one_of(int, type(None))},
}
"""Event -> field that a row may lack -> whether a value fits."""
VALIDATION = {"acc_nat": NUMBER, "acc_adv": NUMBER}
"""What an epoch has both of, or, without a hold-out, neither."""
FLAT = {"step": 1, "epoch": 1, "test": 3}
"""Event -> how many texts its row has, with the event; all else are numbers, or None for what is none."""
FIGURES = frozenset({int, float, bool, type(None), str})


def parse(text: bytes) -> dict[str, Any]:
    """Return the row of a line's JSON. Error: ValueError says what is wrong with its shape.

    Of a journal of another schema only the first row is read, in which its reader finds the schema.
    """
    try:
        row = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(row) is not dict or type(event := row.get("event")) is not str:
        raise ValueError("not an object with an event")
    if event == "run" and type(schema := row.get("schema")) is int and schema != SCHEMA:
        return row
    _refuse_unfit(row, REQUIRED.get(event, TIME))
    if event in FLAT:
        kinds = list(map(type, row.values()))
        if kinds.count(str) != FLAT[event] or not FIGURES.issuperset(kinds):
            raise ValueError(f"its {event} row has a value that is no number")
    if event in OPTIONAL:
        _refuse_unfit(row, {name: fits for name, fits in OPTIONAL[event].items() if name in row})
    if event == "epoch" and not VALIDATION.keys().isdisjoint(row):
        _refuse_unfit(row, VALIDATION)
    return row


def _refuse_unfit(row: dict[str, Any], checks: dict[str, Check]) -> None:
    for name, fits in checks.items():
        if name not in row or not fits(row[name]):
            raise ValueError(f"its {row['event']} row has no valid {name}")
