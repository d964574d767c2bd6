"""Keep the features of a network's images in its run, each computed once."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afdctl.analysis.extraction import AttackAndExtract, Features, make_extractor
from afdctl.data.loader import as_floats
from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError
from afdctl.evaluation.batches import Batch, Executor
from afdctl.evaluation.plan import Task, make_key
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import Journal, JournalCache
from afdctl.runs import shards
from afdctl.runs.shards import Array, Arrays

# part of every key of features: raise it when features change, so that old ones are computed again
VERSION = 2

# Receives the task and the number of its images that were attacked since the last call
OnImages = Callable[[Task, int], None]


class FeatureCache:
    """The features that a run keeps of a network's test images, those of `subset`.

    `check` is called before each pass of an attack, and may raise.
    """

    def __init__(self, target: EvaluationTarget, subset: Subset, batch_size: int, check: Callable[[], None]) -> None:
        self.target, self.subset, self.batch_size, self.check = target, subset, batch_size, check
        self.extract = make_extractor(target.network)
        self.executor: Executor = AttackAndExtract()
        self.reader = JournalCache.of(target.run.journal_path)
        # shards of the run's intact features, by key
        self.shards: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read which features the run has."""
        shard_names = {row["key"]: row["shard"] for row in self.reader.of_event("features")}
        self.shards = {key: name for key, name in shard_names.items() if shards.intact(self.target.run, name)}

    def missing(self, tasks: Iterable[Task]) -> list[Task]:
        """Return what is missing of some attacks, in pieces that are stored as soon as they are done.

        A piece is one epsilon; of a minimum-norm attack it is the whole grid, which one search serves.
        """
        pieces = []
        for task in tasks:
            grids = [task.epsilons] if task.spec.minimises else [(epsilon,) for epsilon in task.epsilons]
            incomplete = [grid for grid in grids if any(self.key(task, epsilon) not in self.shards for epsilon in grid)]
            pieces += [task.with_epsilons(grid) for grid in incomplete]
        return pieces

    def key(self, task: Task, epsilon: float) -> str:
        return make_key(["attacked", VERSION, task.key(self.target, epsilon)])

    @property
    def natural_key(self) -> str:
        return make_key(["natural", VERSION, self.target.digest, self.target.data_digest, *self.subset.key])

    def keys(self, tasks: Iterable[Task]) -> list[str]:
        """Return the keys of the natural images' features, and of those under attacks."""
        return [self.natural_key, *(self.key(task, epsilon) for task in tasks for epsilon in task.epsilons)]

    def natural(self, journal: Journal) -> tuple[Features, Array]:
        """Return the features of the natural images, computed where they are missing, and their labels (n,)."""
        if self.natural_key not in self.shards:
            features = Features.from_batches([self.extract(x) for _, x, _ in self._batches()])
            label = torch.cat([y for _, _, y in self._batches()]).cpu().numpy()
            arrays = features.arrays() | {"index": self.subset.index.numpy().astype(np.int32), "label": label}
            self._store("natural", self.natural_key, arrays, journal, attack=None, norm=None, epsilon=0.0, seed=None)
        arrays = shards.read(self.target.run, self.shards[self.natural_key])
        return Features.from_arrays(arrays), arrays["label"]

    def adversarial(self, task: Task, epsilon: float) -> Features:
        """Read the features under an attack, which must have been added."""
        return Features.from_arrays(shards.read(self.target.run, self.shards[self.key(task, epsilon)]))

    def add(self, task: Task, later: Sequence[Task], journal: Journal, on_images: OnImages) -> None:
        """Attack all images, misclassified ones too, and store the features.

        `later` are tasks that follow this one, which an executor may start early.
        """
        started = time.monotonic()
        blocks: list[list[Arrays]] = [[] for _ in task.epsilons]
        done = 0
        while done < task.n:
            attacked = self.executor.attack(_batches([task, *later], done), lambda passes: self.check())
            for of_epsilon, block in zip(blocks, attacked.blocks, strict=True):
                of_epsilon.append(block)
            size = len(attacked.blocks[0]["z"])
            on_images(task, size)
            done += size
        facts = {
            "attack": task.spec.title,
            "norm": task.spec.norm,
            "seed": task.seed,
            "spec": task.settings,
            "seconds": round(time.monotonic() - started, 3),
        }
        for epsilon, of_epsilon in zip(task.epsilons, blocks, strict=True):
            name, key = f"{task.spec.title}-{epsilon:g}", self.key(task, epsilon)
            arrays = {column: np.concatenate([block[column] for block in of_epsilon]) for column in of_epsilon[0]}
            self._store(name, key, arrays, journal, epsilon=epsilon, **facts)

    def _store(self, name: str, key: str, arrays: Arrays, journal: Journal, **facts: Any) -> None:
        """Write features into a shard and the journal; AfdctlError where they are NaN or infinite."""
        target = self.target
        if broken := int((~np.isfinite(arrays["z"]).all(1)).sum()):
            # NaN scores would pass for a perfect discriminator: they are on neither side of its threshold
            raise AfdctlError(
                f"{target.name}: the features of {broken} of {self.subset.n} images ({name}) are NaN or infinite, so "
                "there is nothing to analyse; take another checkpoint"
            )
        images = {"data": target.data_digest, "subset": self.subset.rule, "n": self.subset.n}
        row = {"key": key, "checkpoint": target.digest, **images, **facts}
        attributes = {
            field: json.dumps(value) if isinstance(value, dict) else value
            for field, value in row.items()
            if value is not None
        }
        self.shards[key] = shards.write(target.run, f"features-{name}", arrays, attributes)
        journal.append("features", shard=self.shards[key], **row)
        journal.sync()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the images' numbers in the split (b,), images (b, c, h, w) and labels (b,)."""
        split = self.target.split
        for index in torch.split(self.subset.index.to(split.x.device), self.batch_size):
            yield index, as_floats(split.x[index]), split.y[index]


def _batches(tasks: Sequence[Task], first: int) -> Iterator[Batch]:
    """Yield the batches of the first task from image `first` on, then those of the others."""
    for number, task in enumerate(tasks):
        size = task.batch_size or task.n
        for start in range(0 if number else first, task.n, size):
            yield Batch(task, start, size)
