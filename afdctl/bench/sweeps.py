"""Times of a sweep and of the published notebook's way to the same figures, batch by batch in turn in one run."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from afdctl.bench import notebook
from afdctl.data.batches import as_floats
from afdctl.sweep.batch import attack_batch, searchable
from afdctl.sweep.parts import Progress
from afdctl.sweep.plan import Task
from afdctl.sweep.verify import predict


def measure(tasks: Sequence[Task], batch_size: int) -> dict[str, Any]:
    """Seconds of both ways for each attack, their ratios, and how accuracies differ (ours less theirs)."""
    attacks = [row(task, batch_size) for task in tasks]
    others = [one for one in attacks if one["attack"] != "aa"]
    return {
        "schema": "afdctl/1",
        "model": tasks[0].source.name,
        "n": tasks[0].n,
        "threads": torch.get_num_threads(),
        "attacks": attacks,
        "all": total(attacks),
        "without_aa": total(others),
    }


def total(attacks: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The ratios of summed times."""
    return {
        name: sum(one[name][0] for one in attacks) / max(sum(one[name][1] for one in attacks), 1e-9)
        for name in ("wall", "cpu")
    }


def row(task: Task, batch_size: int) -> dict[str, Any]:
    """One attack over its grid: `wall` and `cpu` are [ours, the notebook's] seconds."""
    progress, theirs = Progress([[]]), torch.zeros(len(task.spec.epsilons), dtype=torch.float64)
    wall, cpu = [0.0, 0.0], [0.0, 0.0]
    model, other = searchable(task.source.network, lambda: None), notebook.attack(task.spec)
    for number, first in enumerate(range(0, task.n, batch_size)):
        stop = min(first + batch_size, task.n)
        x, y = as_floats(task.source.split.x[first:stop]), task.source.split.y[first:stop]
        ways: list[Callable[[], Any]] = [
            partial(attack_batch, task, model, x, y, first, keep_images=False),
            partial(notebook_batch, other, task, x, y),
        ]
        # who goes first changes from batch to batch, so a warm cache favours neither
        results: list[Any] = [None, None]
        for way in (0, 1) if number % 2 else (1, 0):
            began, began_cpu = time.perf_counter(), time.process_time()
            results[way] = ways[way]()
            wall[way] += time.perf_counter() - began
            cpu[way] += time.process_time() - began_cpu
        progress.blocks[0].append(results[0][0])
        progress.done = stop
        theirs += results[1]
    ours = [progress.clean(0), *progress.figures(0, task)["accuracy"].values()]
    accuracies = (theirs / task.n).tolist()
    differences = [a - b for a, b in zip(ours, accuracies, strict=True)]
    return {
        "attack": task.spec.title,
        "epsilons": list(task.spec.epsilons),
        "wall": wall,
        "cpu": cpu,
        "accuracy": ours,
        "notebook_accuracy": accuracies,
        "differences": [min(differences), max(differences)],
    }


def notebook_batch(attack: notebook.Attack, task: Task, x: Tensor, y: Tensor) -> Tensor:
    """How many images of a batch stay right at each epsilon."""
    network = task.source.network
    network.requires_grad_(True)
    try:
        images = attack(network, x, y, task.spec.epsilons)
        return torch.stack([(predict(network, x_adv) == y).sum() for x_adv in images]).cpu()
    finally:
        network.requires_grad_(False)
        network.zero_grad()
