"""Parts: the samples of an unfinished task that are done, kept so that a kill costs seconds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from afdctl.evaluation.plan import Task
from afdctl.evaluation.statistics import wilson
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import JournalCache, Row
from afdctl.runs import shards
from afdctl.runs.run import Run
from afdctl.runs.shards import Arrays


@dataclass
class PartialResults:
    """Rows of a task so far, for each target, and the seconds that they took; parts hold the first `held` blocks."""

    blocks: list[list[Arrays]]
    done: int = 0
    seconds: float = 0.0
    held: int = 0

    def arrays(self, target: int) -> Arrays:
        """All rows of a target."""
        blocks = self.blocks[target]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def clean(self, target: int) -> float:
        """Clean accuracy of the samples that are done."""
        return sum(int((block["clean"] == block["label"]).sum()) for block in self.blocks[target]) / max(self.done, 1)

    def figures(self, target: int, task: Task) -> dict[str, Any]:
        """How many samples are done, and the accuracy at each epsilon among them."""
        names = {f"{epsilon:g}": f"{epsilon:g}/distance" for epsilon in task.epsilons}
        robust = {
            key: sum(int(np.isinf(block[name]).sum()) for block in self.blocks[target]) for key, name in names.items()
        }
        accuracy = {key: count / max(self.done, 1) for key, count in robust.items()}
        return {"done": self.done, "n": task.n, "accuracy": accuracy, "seconds": round(self.seconds, 3)}


class PartialResultStore:
    """The parts that the journals of some runs name, `readers` by run; with adversarial images, or without them."""

    def __init__(self, readers: Mapping[str, JournalCache], with_images: bool) -> None:
        self.readers, self.with_images = readers, with_images

    def recover(self, task: Task) -> PartialResults:
        """What an earlier sweep left of this task: the parts that follow each other from the first sample on."""
        progress = PartialResults([[] for _ in task.targets])
        found = [self.of(task, target.name) for target in task.targets]
        while parts := [rows[progress.done] for rows in found if progress.done in rows]:
            if len(parts) < len(task.targets) or len({part["done"] for part in parts}) > 1:
                break
            if not all(
                shards.intact(target.run, part["shard"]) for target, part in zip(task.targets, parts, strict=True)
            ):
                break
            for blocks, target, part in zip(progress.blocks, task.targets, parts, strict=True):
                blocks.append(shards.read(target.run, part["shard"]))
            progress.held += 1
            progress.done, progress.seconds = parts[0]["done"], parts[0]["seconds"]
        return progress

    def of(self, task: Task, name: str) -> dict[int, Row]:
        """First sample -> the newest part of the task that begins there."""
        rows = self.rows(task, name)
        return {row["first"]: row for row in rows if row["images"] == self.with_images}

    def rows(self, task: Task, name: str) -> Iterable[Row]:
        """The rows of a run's parts of a task, with and without images."""
        return (row for row in self.readers[name].of_event("sweep_part") if row["task"] == task.parts_key)

    def write(self, task: Task, progress: PartialResults) -> Iterator[tuple[str, Row]]:
        """Put the samples that no part holds yet into shards; yields each run's name and its journal's row."""
        held = progress.held
        if len(progress.blocks[0]) <= held:
            return
        for number, (target, blocks) in enumerate(zip(task.targets, progress.blocks, strict=True)):
            # one block a part from here on
            blocks[held:] = [{name: np.concatenate([block[name] for block in blocks[held:]]) for name in blocks[held]}]
            first = progress.done - len(blocks[held]["label"])
            shard = shards.write(target.run, f"part-{task.parts_key}-{first:06d}", blocks[held])
            facts = {"task": task.parts_key, "first": first, "shard": shard, "images": self.with_images}
            yield target.name, facts | progress.figures(number, task)
        progress.held += 1

    def clear(self, task: Task) -> None:
        """Remove the parts of a task that nobody will go on with."""
        for target in task.targets:
            for row in self.rows(task, target.name):
                shards.remove(target.run, row["shard"])


Rows = dict[tuple[str, str], Row]
"""(run, key) -> the row of a finished cell. Two runs can hold the same network, and so the same keys."""


def finished_cells(run: Run, cells: Iterable[Row], with_images: bool) -> dict[str, Row]:
    """Key -> row of those of a run's cells whose shard is whole, `with_images` where wanted."""
    rows = [row for row in cells if row["images"] or not with_images]
    whole = {name for name in {row["shard"] for row in rows} if shards.intact(run, name)}
    return {row["key"]: row for row in rows if row["shard"] in whole}


def cell(task: Task, target: EvaluationTarget, epsilon: float, arrays: Arrays, seconds: float) -> Row:
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
