"""The batches of a sweep, and what attacks them: this process here, workers of Ray in `cluster.ray_batches`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from afdctl.data.loader import as_floats
from afdctl.evaluation import surrogates
from afdctl.evaluation.batch import PreparedModel, attack_batch
from afdctl.evaluation.plan import Task
from afdctl.runs.shards import Arrays

# Called while a batch is attacked, with its passes so far, 0 where they are not known; may raise StoppedError.
Check = Callable[[int], None]


@dataclass(frozen=True)
class Batch:
    """The images of a task from number `first` on: `size` of them, or those that are left."""

    task: Task
    first: int
    size: int


class Attacked(NamedTuple):
    """The columns of a batch for each target, and the seconds that they took."""

    blocks: list[Arrays]
    seconds: float


class Executor(Protocol):
    """What attacks batches."""

    def attack(self, batches: Iterator[Batch], check: Check) -> Attacked:
        """Attack the first batch; those that follow may be begun, and are asked for later."""
        ...


class InProcess:
    """Attacks one batch after the other in this process."""

    def __init__(self, *, keep_images: bool) -> None:
        self.keep_images = keep_images
        self._task: Task | None = None

    def attack(self, batches: Iterator[Batch], check: Check) -> Attacked:
        """Attack the first batch, and leave the others."""
        batch, started = next(batches), time.monotonic()
        self._check, self._passes = check, 0
        if batch.task is not self._task:
            self._prepare(batch.task)
        split = batch.task.source.split
        index = batch.task.subset.index[batch.first : batch.first + batch.size].to(split.x.device)
        blocks = attack_batch(
            batch.task,
            self._model,
            as_floats(split.x[index]),
            split.y[index],
            index=index,
            keep_images=self.keep_images,
            float32_model=self._float32_model,
        )
        return Attacked(blocks, time.monotonic() - started)

    def _prepare(self, task: Task) -> None:
        network = task.source.network
        self._model = PreparedModel(network, self._count, task.precision)
        self._float32_model = None if task.precision == "float32" else PreparedModel(network, self._count)
        if task.spec.distils:
            self._model.substitute = surrogates.load(task)
        self._task = task

    def _count(self) -> None:
        self._passes += 1
        self._check(self._passes)
