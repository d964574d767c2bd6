"""What other thread counts and the other memory layout would do to a step, by measurement."""

import os
from collections.abc import Callable
from typing import Any

import torch

from afdctl.bench.steps import Batch, Step, defense, interleaved, ratio, step_of
from afdctl.recipe import Recipe

ATTACK_STEPS = 2
"""All passes of an attack are alike, so a few stand for many."""
FULL_VECTORS = 16


def measure(recipe: Recipe, images: Batch, rounds: int) -> list[dict[str, Any]]:
    """Each setting with its step's time over that of the present one, the fastest first.

    Channels last is tried only where it is safe: `models.feature_classifier.build` says why.
    """
    device, present = images.x.device, torch.get_num_threads()
    last = recipe.model.width % FULL_VECTORS == 0
    steps = min(recipe.attack.steps, ATTACK_STEPS)
    own = step_of(defense(recipe, recipe.defense, steps, images), images)
    counts = thread_counts() if device.type == "cpu" else [present]
    wanted: dict[tuple[int, bool], Callable[[], object]] = {(count, last): at_threads(count, own) for count in counts}
    if last:
        plain = defense(recipe, recipe.defense, steps, images, memory_format=torch.contiguous_format)
        wanted[present, False] = step_of(plain, images)
    wanted.setdefault((present, last), own)
    labels = {f"{threads} {layout}": (threads, layout) for threads, layout in wanted}
    seconds = interleaved({name: wanted[key] for name, key in labels.items()}, rounds, device)
    now = seconds[f"{present} {last}"]
    rows = [
        {"threads": threads, "channels_last": layout, "over_present": ratio(seconds[name], now)}
        for name, (threads, layout) in labels.items()
    ]
    return sorted(rows, key=lambda row: row["over_present"].median)


def at_threads(threads: int, step: Step) -> Callable[[], object]:
    """The step at another thread count, which is put back."""

    def run() -> None:
        present = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            step()
        finally:
            torch.set_num_threads(present)

    return run


def thread_counts() -> list[int]:
    """1, 2, 4, ... and all cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({*(1 << power for power in range(cores.bit_length()) if 1 << power <= cores), cores})
