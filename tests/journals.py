"""Runs written by hand: a recipe, a journal and shards, without any training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from afdctl import recipe
from afdctl.journal import SCHEMA
from afdctl.runs import results_file, shards
from afdctl.runs.curves import wilson
from afdctl.runs.run import Run

Row = dict[str, Any]
BEGIN = 1_795_501_685.0
PROVENANCE = {"afdctl": "0.1.0", "torch": "2.14.1", "device": "cpu", "commit": "abc", "threads": 1, "data_digest": "d"}
CHECKPOINT = "f" * 64


def written(
    root: Path,
    name: str,
    rows: Iterable[Row],
    *,
    recipe_name: str = "digits_wgan",
    sets: Sequence[str] = (),
    provenance: Mapping[str, Any] = PROVENANCE,
) -> Run:
    """A run of a packaged recipe with these rows behind its first; they are a second apart."""
    chosen = recipe.load(recipe_name, sets)
    run = Run.create(root, name, recipe.dump(chosen), provenance, name=name)
    first = run_row(chosen.train.epochs, name=name, recipe=chosen.model_dump(mode="json"))
    with run.open_journal() as journal:
        journal.extend({"t": BEGIN + second, **row} for second, row in enumerate([first, *rows]))
    return run


def sealed(text: bytes) -> bytes:
    """A journal's line with this JSON object and its checksum, as docs/journal.md describes it."""
    begin = text.removesuffix(b"}")
    return begin + b',"crc":"%08x"}\n' % crc32(begin)


def run_row(epochs: int = 60, **more: Any) -> Row:
    """The first row of a journal: `epochs` of 10 steps."""
    return {
        "event": "run",
        "schema": SCHEMA,
        "name": "toy",
        "recipe": {},
        "device": "cpu",
        "parameters": 1234,
        "epochs": epochs,
        "steps_per_epoch": 10,
        "steps_total": 10 * epochs,
        "classes": 10,
        "images": {"train": 1237, "holdout": 100, "test": 100},
        **more,
    }


def resumed(step: int, epoch: int) -> Row:
    totals = {"epochs": 60, "steps_per_epoch": 10, "steps_total": 600}
    return {"event": "resume", "step": step, "epoch": epoch, **totals}


def steps(first: int, last: int) -> list[Row]:
    return [
        {"event": "step", "step": number, "epoch": (number + 9) // 10, "L_C": 2 / number, "L_D": 0.5, "L_F": None}
        for number in range(first, last + 1)
    ]


def epoch(number: int, acc_nat: float = 0.9, acc_adv: float = 0.5) -> Row:
    accuracies = {"acc_nat": acc_nat, "acc_adv": acc_adv, "n": 200}
    return {"event": "epoch", "epoch": number, "step": 10 * number, **accuracies, "best": True, "seconds": 1.0}


def final_test(acc_nat: float = 0.95, acc_adv: float = 0.6, n: int = 360) -> Row:
    """The test at the end."""
    return {
        "event": "test",
        "step": 600,
        "checkpoint": "best",
        "checkpoint_step": 600,
        "attack": "PGD-40 linf 0.1",
        "acc_nat": acc_nat,
        "acc_adv": acc_adv,
        "n": n,
    }


def end(reason: str = "finished", message: str | None = None) -> Row:
    return {"event": "end", "step": 600, "reason": reason, "exit_code": 0, "message": message}


def trained(acc_nat: float = 0.95, acc_adv: float = 0.6) -> list[Row]:
    """A training of two epochs that came to its end."""
    return [*steps(1, 10), epoch(1), *steps(11, 20), epoch(2), final_test(acc_nat, acc_adv), end()]


def swept(
    run: Run,
    accuracies: Mapping[float, float],
    attack: str = "aa",
    norm: str = "linf",
    n: int = 100,
    *,
    checkpoint: str = CHECKPOINT,
    shift: int = 0,
    **fields: Any,
) -> str:
    """Put a finished sweep of one attack into the run and its results.h5; returns the name of its shard.

    The images that remain robust are the first ones, moved by `shift`; `fields` change the cells' rows.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {"label": np.arange(n) % 10}
    for epsilon, accuracy in accuracies.items():
        robust = np.roll(np.arange(n) < round(accuracy * n), shift)
        distance = np.where(robust, np.inf, epsilon / 2)
        arrays[f"{epsilon:g}/distance"] = distance.astype(np.float32)
    shard = shards.write(run, attack, arrays)
    rows = [
        {
            "event": "cell",
            "key": f"{attack}{epsilon:g}{checkpoint}",
            "attack": attack,
            "norm": norm,
            "epsilon": epsilon,
            "source": None,
            "schedule": "descending",
            "spec": {"name": attack, "norm": norm, "epsilons": [0, 1]},
            "checkpoint": checkpoint,
            "n": n,
            "seed": 0,
            "acc_nat": 0.97,
            "accuracy": accuracy,
            **wilson(round(accuracy * n), n)._asdict(),
            "grid": [0, 1],
            "suite": "strong",
            "changed": [],
            "precision": "float32",
            "forwards": 10,
            "backwards": 10,
            "seconds": 1.0,
            "shard": shard,
            "images": False,
            **fields,
        }
        for epsilon, accuracy in accuracies.items()
    ]
    with run.open_journal() as journal:
        journal.extend([{"event": "sweep", "suite": "strong", "n": n, "seed": 0, "cells": [], "done": []}, *rows])
        journal.append("sweep_end", reason="finished", exit_code=0)
    results_file.build(run)
    return shard


def saved(digest: str, *, best: bool, step: int = 600) -> Row:
    """The row of a checkpoint."""
    return {"event": "checkpoint", "step": step, "epoch": 1, "file": "x", "digest": digest, "best": best}


def analysed(run: Run, name: str, figures: Row, arrays: Mapping[str, np.ndarray[Any, Any]] | None = None) -> str | None:
    """Put an analysis into the run and its results.h5; returns the name of its shard."""
    shard = shards.write(run, name, arrays) if arrays else None
    row = {
        "name": name,
        "key": name,
        "checkpoint": CHECKPOINT,
        "n": 100,
        "seed": 0,
        "metrics": figures,
        "shard": shard,
        "features": [],
    }
    with run.open_journal() as journal:
        journal.append("analysis", **row)
    results_file.build(run)
    return shard
