"""How long a sweep may take on this machine, before it begins."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from afdctl.attacks.iterate import ascend, cross_entropy_of
from afdctl.data.batches import as_floats
from afdctl.sweep.batch import searchable
from afdctl.sweep.plan import Task
from afdctl.sweep.subject import Subject

ROUNDS = 2


def batch_size_for(x: Tensor) -> int:
    """A batch that keeps the device busy: on the CPU more than 128 small images no longer fit its cache."""
    return 1024 if x.device.type == "cuda" else 128


def seconds_at_most(tasks: Sequence[Task], batch_size: int) -> dict[tuple[str, str], float]:
    """(attack, source) -> the time of all passes that it may take; what ends early takes less."""
    of_source = {task.source.digest: task for task in tasks}
    passes = {digest: seconds_a_pass(task.source, batch_size, task.precision) for digest, task in of_source.items()}
    return {(task.spec.title, task.source.name): task_seconds(task, *passes[task.source.digest]) for task in tasks}


def task_seconds(task: Task, forward: float, backward: float) -> float:
    """The same of one task, given the seconds of a pass of one sample."""
    forwards, backwards = task.spec.passes(task.source.classes)
    epsilons = 1 if task.spec.minimises else len(task.epsilons)
    return task.n * epsilons * (forwards * forward + backwards * backward)


def seconds_a_pass(subject: Subject, batch_size: int, precision: str = "float32") -> tuple[float, float]:
    """Seconds of a forward pass, and of what a backward pass adds to it, for each sample of a batch."""
    x, y = as_floats(subject.split.x[:batch_size]), subject.split.y[:batch_size]
    model = searchable(subject.network, lambda: None, precision)
    objective = cross_entropy_of(y)

    def forward() -> None:
        with torch.no_grad():
            model(x).sum().item()

    def both() -> None:
        ascend(model, objective, x)[2].sum().item()

    return timed(forward) / len(x), max(timed(both) - timed(forward), 0.0) / len(x)


def timed(work: Callable[[], None]) -> float:
    """The least seconds of a few rounds, after one that warms up."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
