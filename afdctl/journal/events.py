"""The events of a journal, their fields and the types of these.

docs/journal.md describes every event; a test holds the two lists equal.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

SCHEMA: Final = 3
Check = Callable[[Any], bool]


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
    "object with interval, share": _object_with(interval=_is(int), share=_is(int, float)),
    "object with attack, train": _object_with(attack=_is(str), train=_is(str)),
    "object with name": _object_with(name=_is(str)),
    "object with returned, nan, outside, unqueried": _object_with(
        returned=_is(int), nan=_is(int), outside=_is(int), unqueried=_is(int)
    ),
}

_TOTALS: Final = {"epochs": "integer", "steps_per_epoch": "integer", "steps_total": "integer"}
_ATTACK: Final = {"attack": "string", "norm": "string", "source": "string or null"}
_BY_NORM: Final = {"acc_linf?": "number", "acc_l2?": "number", "acc_l1?": "number"}
_STEP_METRICS: Final = (
    *("lr_C", "lr_D", "lr_F", "attack_steps", "progress", "images_per_s"),
    *("L_C", "L_D", "L_F", "kl", "boost", "distance", "pairing", "sensitivity", "grad_C", "grad_D", "grad_F"),
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
        "processes?": "integer",
        "precisions?": "object with attack, train",
        "parameters": "integer",
        **_TOTALS,
        "classes": "integer",
        "images": "object with train, holdout, test",
        "validation?": "object with interval, share",
    },
    "resume": {"step": "integer", "epoch": "integer", "processes?": "integer", **_TOTALS},
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
        "acc_apgd_t?": "number",
        "acc_probe?": "number",
        **_BY_NORM,
        "logit_margin?": "number or null",
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
        "square_queries?": "integer",
        **_BY_NORM,
        "subset?": "string",
        "n": "integer",
        "split_n?": "integer",
    },
    "alarm": {"name": "string", "step": "integer", "value": "number", "threshold": "number", "advice": "string"},
    "warning": {"step?": "integer", "message": "string"},
    "end": {"step?": "integer", "reason": "string", "exit_code": "integer", "message": "string or null"},
    "sanity_check": {
        "checkpoint": "string",
        "data": "string",
        "version": "integer",
        "n?": "integer",
        "pixels?": "integer",
        "measures?": "object",
        "warnings": "array of strings",
        "fingerprint?": "array of numbers or null",
    },
    "sweep": {
        "suite?": "string",
        "subset?": "string",
        "n?": "integer",
        "split_n?": "integer",
        "seed?": "integer",
        "cells": "array",
        "done?": "array",
    },
    "sweep_block": {
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
    "sweep_progress": {
        **_ATTACK,
        "done": "integer",
        "n": "integer",
        "accuracy": "object",
        "seconds?": "number",
        "passes?": "integer",
    },
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
        "subset?": "string",
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
        "faults?": "object with returned, nan, outside, unqueried",
    },
    "surrogate": {
        "key": "string",
        "checkpoint": "string",
        "data": "string",
        "epochs": "integer",
        "images": "integer",
        "agreement": "number",
        "seconds": "number",
        "shard": "string",
    },
    "sweep_end": {"reason": "string", "exit_code": "integer"},
    "features": {
        "key": "string",
        "shard": "string",
        "subset?": "string",
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
        "subset?": "string",
        "n": "integer",
        "split_n?": "integer",
        "points?": "integer or null",
        "changed?": "array of strings",
        "seed": "integer",
        "spec?": "object",
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
# Events whose values are numbers, booleans or null, except for this many strings (`event` is one) and `subset`.
# A defense may add metrics of any name to a step.
STRINGS_IN_NUMERIC_ROW: Final = {"step": 1, "epoch": 1, "test": 3}
NUMERIC_TYPES: Final = frozenset({int, float, bool, type(None), str})
# An epoch has both of these or, without a hold-out split, neither.
VALIDATION_FIELDS: Final = {"acc_nat": TYPES["number"], "acc_adv": TYPES["number"]}
