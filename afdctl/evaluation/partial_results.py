"""Partial results of an unfinished task, saved so that a kill costs seconds.

A part is one shard with the rows of consecutive samples, named by a `sweep_part` event.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from afdctl.evaluation.plan import Task
from afdctl.journal import JournalCache, Row
from afdctl.runs import shards
from afdctl.runs.shards import Arrays


@dataclass
class PartialResults:
    """The results of a task so far: blocks of samples for each target, and the seconds that they took.

    The first `saved` blocks are stored in parts.
    """

    blocks: list[list[Arrays]]
    done: int = 0
    seconds: float = 0.0
    saved: int = 0

    def arrays(self, target: int) -> Arrays:
        """Join all blocks of a target."""
        return _join(self.blocks[target])

    def summary(self, target: int, task: Task) -> dict[str, Any]:
        """Return the number of finished samples, and the accuracy at each epsilon among them."""
        accuracy = {}
        for epsilon in task.epsilons:
            column = f"{epsilon:g}/distance"
            robust = sum(int(np.isinf(block[column]).sum()) for block in self.blocks[target])
            accuracy[f"{epsilon:g}"] = robust / max(self.done, 1)
        return {"done": self.done, "n": task.n, "accuracy": accuracy, "seconds": round(self.seconds, 3)}


class PartialResultStore:
    """The parts that the journals of some runs name, `readers` by run; with adversarial images, or without them."""

    def __init__(self, readers: Mapping[str, JournalCache], with_images: bool) -> None:
        self.readers, self.with_images = readers, with_images

    def recover(self, task: Task) -> PartialResults:
        """Load the consecutive parts of a task, from its first sample on, that every target has intact."""
        results = PartialResults([[] for _ in task.targets])
        rows_by_first = [self._newest(task, target.name) for target in task.targets]
        while parts := [rows[results.done] for rows in rows_by_first if results.done in rows]:
            if len(parts) < len(task.targets) or len({part["done"] for part in parts}) > 1:
                break
            pairs = list(zip(task.targets, parts, strict=True))
            if not all(shards.intact(target.run, part["shard"]) for target, part in pairs):
                break
            for blocks, (target, part) in zip(results.blocks, pairs, strict=True):
                blocks.append(shards.read(target.run, part["shard"]))
            results.saved += 1
            results.done, results.seconds = parts[0]["done"], parts[0]["seconds"]
        return results

    def write(self, task: Task, results: PartialResults) -> Iterator[tuple[str, Row]]:
        """Store the samples that no part has yet; yield each run's name and the fields of its `sweep_part` event."""
        saved = results.saved
        if len(results.blocks[0]) <= saved:
            return
        for number, (target, blocks) in enumerate(zip(task.targets, results.blocks, strict=True)):
            # from here on one block is one part
            blocks[saved:] = [_join(blocks[saved:])]
            first = results.done - len(blocks[saved]["label"])
            shard = shards.write(target.run, f"part-{task.parts_key}-{first:06d}", blocks[saved])
            fields = {"task": task.parts_key, "first": first, "shard": shard, "images": self.with_images}
            yield target.name, fields | results.summary(number, task)
        results.saved += 1

    def clear(self, task: Task) -> None:
        """Remove the parts of a task that will not be resumed."""
        for target in task.targets:
            for row in self._rows(task, target.name):
                shards.remove(target.run, row["shard"])

    def _newest(self, task: Task, name: str) -> dict[int, Row]:
        """Map the first sample of a part to the newest part that begins there."""
        return {row["first"]: row for row in self._rows(task, name) if row["images"] == self.with_images}

    def _rows(self, task: Task, name: str) -> Iterable[Row]:
        """Read the rows of a run's parts of a task, with and without images."""
        return (row for row in self.readers[name].of_event("sweep_part") if row["task"] == task.parts_key)


def _join(blocks: list[Arrays]) -> Arrays:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
