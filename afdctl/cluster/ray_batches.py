"""Batches of attacks as tasks of Ray: workers return arrays, and only the driver writes.

A worker makes the plan of the sweep, or of the analyses, again from the command's options. The key of a task holds all
that its results depend on, so a worker whose key differs from the driver's has other files, and is refused.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import torch

from afdctl.cluster.ray_cluster import RayCluster, last_line
from afdctl.errors import AfdctlError
from afdctl.evaluation.batches import Attacked, Batch, Check, Executor
from afdctl.evaluation.plan import Task
from afdctl.journal.writing_process import host_name

# Plans the tasks of the command; pickled, so a function of a module with plain arguments.
Plan = Callable[[], Sequence[Task]]
# Makes what attacks the batches in a worker; pickled too.
MakeExecutor = Callable[[], Executor]
# A signal is noticed within this time.
WAIT_SECONDS: Final = 0.2
# Batches that are begun ahead, for each that runs at once: their results wait for those before them.
AHEAD: Final = 2


@dataclass(frozen=True, kw_only=True)
class BatchTask:
    """A batch as plain values: which of the plan's tasks, its grid, and its images; and how a worker computes."""

    plan: bytes
    folder: str
    identity: tuple[str, str, bool]
    epsilons: tuple[float, ...]
    precision: str
    batch_size: int | None
    key: str
    first: int
    size: int
    executor: bytes
    threads: int


class RayBatches:
    """Attacks batches in workers of Ray, as many at once as the cluster has room for."""

    def __init__(self, cluster: RayCluster, plan: Plan, make_executor: MakeExecutor) -> None:
        self.cluster, self.folder = cluster, os.getcwd()
        self.plan, self.executor = pickle.dumps(plan), pickle.dumps(make_executor)
        self._most = AHEAD * cluster.slots
        self._task = cluster.task(attack)
        self._started: dict[BatchTask, Any] = {}

    def attack(self, batches: Iterator[Batch], check: Check) -> Attacked:
        """Wait for the first batch, while those that follow it are attacked too."""
        wanted = [self._task_of(batch) for batch in islice(batches, self._most)]
        # where memory ran out, the images that are left are in smaller batches
        self.cluster.cancel([self._started.pop(task) for task in set(self._started) - set(wanted)], seconds=0)
        for task in wanted:
            if task not in self._started:
                self._started[task] = self._task.remote(task)
        reference = self._started.pop(wanted[0])
        while not self.cluster.wait([reference], WAIT_SECONDS):
            check(0)
        return self._result(reference)

    def _task_of(self, batch: Batch) -> BatchTask:
        task = batch.task
        return BatchTask(
            plan=self.plan,
            folder=self.folder,
            identity=task.identity,
            epsilons=task.epsilons,
            precision=task.precision,
            batch_size=task.batch_size,
            key=task.block_key,
            first=batch.first,
            size=batch.size,
            executor=self.executor,
            threads=self.cluster.threads,
        )

    def _result(self, reference: Any) -> Attacked:
        errors = self.cluster.ray.exceptions
        try:
            attacked: Attacked = self.cluster.ray.get(reference)
        except errors.RayTaskError as error:
            # as if it had been raised here, such as that of a full memory
            raise error.cause from None
        except errors.RayError as error:
            raise AfdctlError(f"a worker of Ray: {type(error).__name__}: {last_line(error)}") from None
        return attacked


def attack(task: BatchTask) -> Attacked:
    """Attack a batch in a worker."""
    torch.set_num_threads(task.threads)
    planned = _planned(task.plan, task.folder, task.identity, task.epsilons, task.precision, task.batch_size)
    if planned is None or planned.block_key != task.key:
        raise AfdctlError(f"on {host_name()} the plan is not the same: data, models and user files must be shared")
    return _executor(task.executor).attack(iter([Batch(planned, task.first, task.size)]), lambda passes: None)


@lru_cache(maxsize=1)
def _tasks(plan: bytes, folder: str) -> Sequence[Task]:
    """Make the plan, once in each worker."""
    try:
        os.chdir(folder)
    except OSError:
        raise AfdctlError(f"{host_name()} does not see {folder}; start in a folder that all share") from None
    tasks: Sequence[Task] = pickle.loads(plan)()
    return tasks


@lru_cache(maxsize=4)
def _planned(
    plan: bytes,
    folder: str,
    identity: tuple[str, str, bool],
    epsilons: tuple[float, ...],
    precision: str,
    batch_size: int | None,
) -> Task | None:
    """Return the task of the plan with this identity, on the grid that is left; one object for all of its batches."""
    found = [task for task in _tasks(plan, folder) if task.identity == identity]
    if not found:
        return None
    task = found[0].with_epsilons(epsilons).with_precision(precision)
    return task.with_batch_size(batch_size) if batch_size else task


@lru_cache(maxsize=1)
def _executor(make_executor: bytes) -> Executor:
    executor: Executor = pickle.loads(make_executor)()
    return executor
