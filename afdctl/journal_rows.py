"""The shape of a journal's rows: the fields that readers rely on, and their types.

A checksum proves that a line is what was written, not that a writer of this version wrote it. Fields that are not named
here may be there or not.
"""

import json
from typing import Any

SCHEMA = 2
Types = frozenset[type]
WHOLE: Types = frozenset({int})
NUMBER: Types = frozenset({int, float})
TEXT: Types = frozenset({str})
TEXT_OR_NONE: Types = frozenset({str, type(None)})
TRUTH: Types = frozenset({bool})
TABLE: Types = frozenset({dict})
LIST: Types = frozenset({list})

ATTACK = {"attack": TEXT, "norm": TEXT, "source": TEXT_OR_NONE}
TOTALS = {"epochs": WHOLE, "steps_per_epoch": WHOLE, "steps_total": WHOLE}
REQUIRED: dict[str, dict[str, Types]] = {
    "run": {"name": TEXT, "recipe": TABLE, "device": TEXT, "parameters": WHOLE, **TOTALS},
    "resume": {"step": WHOLE, "epoch": WHOLE, **TOTALS},
    "step": {"step": WHOLE, "epoch": WHOLE},
    "epoch": {"step": WHOLE, "epoch": WHOLE, "best": TRUTH},
    "checkpoint": {"step": WHOLE, "epoch": WHOLE, "file": TEXT},
    "test": {
        "checkpoint": TEXT, "of_step": WHOLE, "attack": TEXT, "acc_nat": NUMBER, "acc_adv": NUMBER, "n": WHOLE,
    },
    "warning": {"message": TEXT},
    "end": {"reason": TEXT, "exit_code": WHOLE, "message": TEXT_OR_NONE},
    "sweep": {"cells": LIST},
    "part": {"task": TEXT, "first": WHOLE, "done": WHOLE, "seconds": NUMBER, "shard": TEXT, "images": TRUTH, **ATTACK},
    "progress": {"done": WHOLE, "n": WHOLE, "accuracy": TABLE, **ATTACK},
    "cell": {
        "key": TEXT, "epsilon": NUMBER, "schedule": TEXT, "spec": TABLE, "checkpoint": TEXT, "n": WHOLE, "seed": WHOLE,
        "acc_nat": NUMBER, "accuracy": NUMBER, "low": NUMBER, "high": NUMBER, "seconds": NUMBER, "shard": TEXT,
        "images": TRUTH, **ATTACK,
    },
    "swept": {"reason": TEXT, "exit_code": WHOLE},
    "features": {"key": TEXT, "shard": TEXT, "n": WHOLE, "attack": TEXT_OR_NONE, "epsilon": NUMBER, "checkpoint": TEXT},
    "analysis": {
        "name": TEXT, "key": TEXT, "checkpoint": TEXT, "n": WHOLE, "seed": WHOLE, "figures": TABLE,
        "shard": TEXT_OR_NONE, "features": LIST,
    },
}  # fmt: skip
"""Event -> required field -> the types that it may have. An event that is not here needs nothing."""


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
    if event == "run" and row.get("schema", SCHEMA) != SCHEMA:
        return row
    for name, types in REQUIRED.get(event, {}).items():
        if type(row.get(name)) not in types or name not in row:
            raise ValueError(f"its {event} row has no valid {name}")
    return row
