"""Cells: what a run's journal and shards hold of a finished task."""

from collections.abc import Iterable

import numpy as np

from afdctl.events import Row
from afdctl.store import shards
from afdctl.store.run import Run
from afdctl.store.shards import Arrays
from afdctl.sweep.figures import wilson
from afdctl.sweep.plan import Task
from afdctl.sweep.subject import Subject

Rows = dict[tuple[str, str], Row]
"""(run, key) -> the row of a finished cell. Two runs can hold the same network, and so the same keys."""


def finished_cells(run: Run, cells: Iterable[Row], with_images: bool) -> dict[str, Row]:
    """Key -> row of those of a run's cells whose shard is whole, `with_images` where wanted."""
    rows = [row for row in cells if row["images"] or not with_images]
    whole = {name for name in {row["shard"] for row in rows} if shards.intact(run, name)}
    return {row["key"]: row for row in rows if row["shard"] in whole}


def cell(task: Task, target: Subject, epsilon: float, arrays: Arrays, seconds: float) -> Row:
    """The journal's row of a finished cell; its seconds are the task's, shared out by passes."""
    passes = {one: total_passes(arrays, one) for one in task.epsilons}
    robust = int((arrays[f"{epsilon:g}/distance"] == np.inf).sum())
    low, high = wilson(robust, task.n)
    part = seconds / len(passes) if not sum(passes.values()) else seconds * passes[epsilon] / sum(passes.values())
    return {
        "event": "cell",
        "key": task.key(target, epsilon),
        "attack": task.spec.title,
        "norm": task.spec.norm,
        "epsilon": epsilon,
        "source": task.source.name if task.transfers else None,
        "schedule": task.spec.order,
        "grid": task.grid,
        "suite": task.suite,
        "changed": list(task.changed),
        "spec": task.spec.model_dump(mode="json", exclude={"label", "datasets", "epsilons"}) | task.settings,
        "checkpoint": target.digest,
        "source_checkpoint": task.source.digest if task.transfers else None,
        "n": task.n,
        "split_n": len(target.split),
        "seed": task.seed,
        "precision": task.precision,
        "acc_nat": float((arrays["clean"] == arrays["label"]).mean()),
        "accuracy": robust / task.n,
        "low": low,
        "high": high,
        "forwards": int(arrays[f"{epsilon:g}/forwards"].sum()),
        "backwards": int(arrays[f"{epsilon:g}/backwards"].sum()),
        "seconds": round(part, 3),
    }


def total_passes(arrays: Arrays, epsilon: float) -> int:
    return int(arrays[f"{epsilon:g}/forwards"].sum() + arrays[f"{epsilon:g}/backwards"].sum())
