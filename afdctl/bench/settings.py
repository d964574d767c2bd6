"""What other settings would do to a step, by measurement: threads and layout, and on a GPU the ways to be faster."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from afdctl.bench.steps import Batch, Step, defense, interleaved, ratio, step_of, tuned, warm_ups
from afdctl.defenses.base import Report
from afdctl.errors import AfdctlError
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe

ATTACK_STEPS = 2
"""All passes of an attack are alike, so a few stand for many."""
FULL_VECTORS = 16
# "max-autotune" is left to the recipe: it times many kernels for each shape before the first step
TRIED_MODES: Final[Sequence[str | bool]] = (False, "default", "reduce-overhead")


@dataclass(frozen=True)
class Setting:
    """One way to take the recipe's step; the last two are keys of [train]."""

    threads: int
    channels_last: bool
    precision: str
    compile: str | bool

    def step(self, recipe: Recipe, images: Batch) -> Step:
        """A step of the recipe's own defense, with few attack steps."""
        wanted = tuned(recipe, precision=self.precision, compile=self.compile)
        layout = None if self.channels_last else torch.contiguous_format
        steps = min(recipe.attack.steps, ATTACK_STEPS)
        made = defense(wanted, recipe.defense, steps, images, memory_format=layout)
        return at_threads(self.threads, step_of(made, images))


def measure(recipe: Recipe, images: Batch, rounds: int) -> list[dict[str, Any]]:
    """Each setting with its step's time over that of the present one, the fastest first.

    Those that fail on this device come last, with `error` and without a time.
    """
    device, train = images.x.device, recipe.train
    full = recipe.model.width % FULL_VECTORS == 0
    present = Setting(torch.get_num_threads(), full, train.precision, train.compile)
    settings = {str(setting): setting for setting in [present, *others(present, device)]}
    steps, errors = warmed(settings, recipe, images)
    seconds = interleaved(steps, rounds, device, warm_ups=0)
    rows = [
        {**vars(settings[name]), "over_present": ratio(taken, seconds[str(present)]), "error": None}
        for name, taken in seconds.items()
    ]
    failed = [{**vars(settings[name]), "over_present": None, "error": error} for name, error in errors.items()]
    return sorted(rows, key=lambda row: row["over_present"].median) + failed


def warmed(settings: Mapping[str, Setting], recipe: Recipe, images: Batch) -> tuple[dict[str, Step], dict[str, str]]:
    """The step of each setting, compiled; and why there is none, but for the first, which must work."""
    steps: dict[str, Step] = {}
    errors: dict[str, str] = {}
    for name, setting in settings.items():
        try:
            step = setting.step(recipe, images)
            for _ in range(warm_ups(setting.compile, images.x.device)):
                step()
        except (RuntimeError, AfdctlError) as error:
            if not steps:
                raise
            errors[name] = str(error).partition("\n")[0]
        else:
            steps[name] = step
    return steps, errors


def others(present: Setting, device: torch.device) -> list[Setting]:
    """The settings to try, each apart; on a GPU also every precision with every mode of compilation.

    Channels last is tried only where it is safe: `models.feature_classifier.build` says why. On the CPU compiling
    takes longer than all else here, and bfloat16 is slow.
    """
    found = [replace(present, channels_last=False)]
    if device.type == "cpu":
        return [*(replace(present, threads=count) for count in thread_counts()), *found]
    if device.type == "cuda":
        found += [replace(present, precision=name, compile=mode) for name in DTYPES for mode in TRIED_MODES]
    return found


def at_threads(threads: int, step: Step) -> Step:
    """The step at another thread count, which is put back."""

    def run() -> Report:
        present = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return step()
        finally:
            torch.set_num_threads(present)

    return run


def thread_counts() -> list[int]:
    """1, 2, 4, ... and all cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({*(1 << power for power in range(cores.bit_length()) if 1 << power <= cores), cores})
