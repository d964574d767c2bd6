"""How long a sweep may take on this machine, before it begins."""

import time
from collections.abc import Callable, Sequence

import torch

from afdctl.attacks.iterate import ascend, cross_entropy_of
from afdctl.data.batches import as_floats
from afdctl.sweep.batch import searchable
from afdctl.sweep.plan import Task
from afdctl.sweep.subject import Subject

ROUNDS = 2
CUDA_BATCH = 1024
BATCHES = (128, 256, 512)
"""Tried on the CPU: small networks gain by larger ones, until their maps no longer fit its cache."""
GAIN, SLOW_SECONDS = 0.95, 0.15
"""A larger batch has to be faster by so much; a network with such a slow step of the smallest has nothing to gain."""


def batch_size_for(subject: Subject, n: int) -> int:
    """How many of n images to attack at once: on the CPU the fastest by a few attack steps, well under a second.

    What an attack finds does not depend on it.
    """
    if subject.split.x.device.type == "cuda":
        return CUDA_BATCH
    first, *larger = BATCHES
    sizes = [first, *(size for size in larger if size <= n)]
    if len(sizes) == 1 or timed(step := attack_step(subject, first)) > SLOW_SECONDS:
        return first
    steps = {first: step} | {size: attack_step(subject, size) for size in sizes[1:]}
    # in turn, so that a busy machine slows all of them alike
    rounds = [{size: seconds(step) / size for size, step in steps.items()} for _ in range(ROUNDS)]
    each = {size: min(times[size] for times in rounds) for size in sizes}
    fastest = min(sizes, key=each.__getitem__)
    return fastest if each[fastest] < GAIN * each[first] else first


def attack_step(subject: Subject, size: int, precision: str = "float32") -> Callable[[], None]:
    """A forward and a backward pass of the first `size` images."""
    x, y = as_floats(subject.split.x[:size]), subject.split.y[:size]
    model, objective = searchable(subject.network, lambda: None, precision), cross_entropy_of(y)

    def step() -> None:
        # wait for the device
        ascend(model, objective, x)[2].sum().item()

    return step


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
    x = as_floats(subject.split.x[:batch_size])
    model = searchable(subject.network, lambda: None, precision)
    both = attack_step(subject, batch_size, precision)

    def forward() -> None:
        with torch.no_grad():
            model(x).sum().item()

    return timed(forward) / len(x), max(timed(both) - timed(forward), 0.0) / len(x)


def timed(work: Callable[[], None]) -> float:
    """The least seconds of a few rounds, after one that warms up."""
    work()
    return min(seconds(work) for _ in range(ROUNDS))


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
