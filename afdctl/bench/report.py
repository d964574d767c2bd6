"""The benchmark's figures."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from afdctl.bench.journal import seconds_a_step
from afdctl.bench.steps import interleaved, ratio, steps
from afdctl.recipe import Recipe

STEPS_AN_EPOCH = 430


def measure(recipe: Recipe, attack_steps: Sequence[int], rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds and ratios for each number of attack steps; ratios are [median, lower quartile, upper quartile]."""
    return {
        "schema": "afdctl/1",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "batch_size": recipe.train.batch_size,
        "steps": [row(recipe, count, rounds, device) for count in attack_steps],
    }


def row(recipe: Recipe, attack_steps: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """The median seconds of each step, their ratios, and the journal's share of the AFD step, at one attack length."""
    candidates = steps(recipe, attack_steps, device)
    report = candidates["afd"]()
    seconds = interleaved(candidates, rounds, device)
    journal = seconds_a_step(recipe, report, STEPS_AN_EPOCH)
    return {
        "attack_steps": attack_steps,
        **{f"{name}_seconds": median(times) for name, times in seconds.items()},
        "afd_over_at": ratio(seconds["afd"], seconds["at"]),
        "afd_over_published": ratio(seconds["afd"], seconds["published"]),
        "journal_share": journal / median(seconds["afd"]),
    }
