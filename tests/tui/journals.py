"""Synthetic journals: a training of AFD, its attacks, and damage to them."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from afdctl.journal import SCHEMA, Line
from afdctl.runs.run import Run
from afdctl.tui.state.history import History
from tests.journals import sealed

Row = dict[str, Any]
BEGIN = 1_790_000_000.0
EPOCHS, PER_EPOCH = 20, 50
RECIPE = {
    "data": {"dataset": "mnist"},
    "defense": {"name": "afd", "game": "wgan", "lr_C": 0.1, "lr_D": 0.1, "lr_F": 0.5},
    "attack": {"name": "apgd_ce", "norm": "linf", "epsilon": 0.3, "steps": 40, "epsilon_warmup_epochs": 0.0},
    "train": {"epochs": EPOCHS, "batch_size": 128},
    "validation": {"steps": 20},
}
RUN = {
    "event": "run",
    "t": BEGIN,
    "schema": SCHEMA,
    "name": "mnist_wgan-001",
    "recipe": RECIPE,
    "epochs": EPOCHS,
    "steps_per_epoch": PER_EPOCH,
    "steps_total": EPOCHS * PER_EPOCH,
    "device": "cuda:0",
    "parameters": 262896,
    "classes": 10,
    "images": {"train": 55000, "holdout": 5000, "test": 10000},
}
TEST = {
    "event": "test",
    "t": BEGIN + 300,
    "step": 1000,
    "checkpoint": "last",
    "checkpoint_step": 1000,
    "attack": "PGD-40 linf 0.3",
    "acc_nat": 0.991,
    "acc_adv": 0.874,
    "n": 10000,
}
END = {"event": "end", "t": BEGIN + 310, "step": 1000, "reason": "finished", "exit_code": 0, "message": None}
EPSILONS = (0.0, 0.1, 0.2, 0.3)
ATTACKS = ("fgsm", "pgd", "mim", "aa")


def step(number: int, **changes: Any) -> Row:
    """A step of a training that goes well, with a little noise that is the same each time."""
    share, noise = number / (EPOCHS * PER_EPOCH), math.sin(number * 12.9898) * 0.5
    accuracy = 0.5 + 0.4 * math.exp(-(((share - 0.2) / 0.1) ** 2)) + 0.06 * noise
    return {
        "event": "step",
        "t": BEGIN + 5 * math.ceil(number / 10) / 4,
        "step": number,
        "epoch": (number - 1) // PER_EPOCH + 1,
        "lr_C": 0.1,
        "lr_D": 0.1,
        "lr_F": 0.5,
        "L_C": 2.2 * math.exp(-6 * share) + 0.1 + 0.08 * noise,
        "L_D": -0.05 * math.sin(3 * share) + 0.02 * noise,
        "L_F": 0.4 - 0.3 * share + 0.1 * noise,
        "acc_nat": min(0.99, 0.3 + share),
        "d_accuracy": accuracy,
        "d_acc_nat": accuracy + 0.02,
        "d_acc_adv": accuracy - 0.02,
        "alpha_h": 2 * accuracy,
        "alpha_h_calibrated": 2 * accuracy,
        "d_hdh": 0.1,
        "d_hdh_calibrated": 0.1,
        "grad_C": 0.2,
        "grad_D": 0.1,
        "grad_F": 0.3,
        "fraction_unchanged": 0.01,
        "images_per_s": 5120.0,
    } | changes


def epoch(number: int, **changes: Any) -> Row:
    row = {
        "event": "epoch",
        "t": BEGIN + 6.25 * number + 0.5,
        "epoch": number,
        "step": number * PER_EPOCH,
        "n": 1000,
        "acc_nat": 0.99 - 0.6 / number,
        "acc_adv": 0.9 - 0.8 / number,
        "best": True,
        "seconds": 0.5,
    }
    return row | changes


def checkpoint(number: int) -> Row:
    return {
        "event": "checkpoint",
        "t": BEGIN + number / 8 + 0.6,
        "step": number,
        "epoch": number // PER_EPOCH,
        "file": f"step-{number:08d}-0123456789abcdef.pt",
        "digest": "0" * 64,
        "best": True,
    }


def training(steps: int = EPOCHS * PER_EPOCH) -> list[Row]:
    """A training up to a step, with an epoch and a checkpoint every 50; whole, it is tested and has an end."""
    rows: list[Row] = [dict(RUN), checkpoint(0)]
    for number in range(1, steps + 1):
        rows.append(step(number))
        if number % PER_EPOCH == 0:
            rows += [epoch(number // PER_EPOCH), checkpoint(number)]
    if steps == EPOCHS * PER_EPOCH:
        rows += [dict(TEST), TEST | {"checkpoint": "best", "checkpoint_step": 950, "acc_adv": 0.881}, dict(END)]
    return rows


def accuracy(attack: str, epsilon: float) -> float:
    return round(0.99 * math.exp(-epsilon * (1 + ATTACKS.index(attack))), 4)


def cell(attack: str, epsilon: float, **changes: Any) -> Row:
    found = accuracy(attack, epsilon)
    return {
        "event": "cell",
        "t": BEGIN + 400,
        "key": f"{attack}-{epsilon}",
        "attack": attack,
        "norm": "linf",
        "epsilon": epsilon,
        "schedule": "fixed",
        "source": None,
        "accuracy": found,
        "low": found - 0.01,
        "high": found + 0.01,
        "n": 1000,
        "acc_nat": 0.99,
        "seconds": 12.0,
        "forwards": 40,
        "backwards": 40,
        "spec": {"name": attack},
        "grid": None,
        "suite": "quick",
        "changed": [],
        "precision": "float32",
        "checkpoint": "0" * 64,
        "seed": 0,
        "shard": f"{attack}-0.h5",
        "images": False,
    } | changes


def sweep(done: int = 9) -> list[Row]:
    """A sweep of four attacks at four epsilons: `done` cells, and a block of the next attack."""
    plan = [(attack, epsilon) for attack in ATTACKS for epsilon in EPSILONS]
    cells = [{"key": f"{a}-{e}", "attack": a, "norm": "linf", "epsilon": e, "source": None} for a, e in plan]
    rows: list[Row] = [
        {
            "event": "sweep",
            "t": BEGIN + 380,
            "suite": "quick",
            "checkpoint": "best",
            "n": 1000,
            "seed": 0,
            "cells": cells,
        }
    ]
    rows += [cell(attack, epsilon, t=BEGIN + 400 + place) for place, (attack, epsilon) in enumerate(plan[:done])]
    if done < len(plan):
        attack, epsilon = plan[done]
        block_accuracy = {str(epsilon): accuracy(attack, epsilon)}
        rows.append(
            {
                "event": "sweep_block",
                "t": BEGIN + 420,
                "attack": attack,
                "norm": "linf",
                "source": None,
                "task": "t",
                "first": 0,
                "done": 320,
                "n": 1000,
                "accuracy": block_accuracy,
                "seconds": 3.0,
                "shard": "block-t-0.h5",
                "images": False,
            }
        )
    else:
        rows.append({"event": "sweep_end", "t": BEGIN + 500, "reason": "finished", "exit_code": 0})
    return rows


def line(row: Row) -> bytes:
    return sealed(json.dumps(row, separators=(",", ":")).encode())


def write(folder: Path, rows: Iterable[Row]) -> Path:
    """A run folder with this journal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text("")
    Run(folder).complete({})
    (folder / "events.ndjson").write_bytes(b"".join(map(line, rows)))
    return folder


def lines(rows: Iterable[Row]) -> list[Line]:
    """Rows as a follower gives them."""
    found, offset = [], 0
    for row in rows:
        found.append((offset, json.loads(json.dumps(row))))
        offset += len(line(row))
    return found


def history(rows: Iterable[Row]) -> History:
    known = History()
    known.extend(lines(rows))
    return known
