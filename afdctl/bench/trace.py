"""A trace of a few steps: a timeline of operations under the parts of the step, and which of them take the most."""

from contextlib import ExitStack
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from afdctl.bench.parts import Parts
from afdctl.bench.steps import batch, defense, synchronize
from afdctl.recipe import Recipe

STEPS, TOP = 2, 15


class Regions:
    """Names the part at work in the trace."""

    def __init__(self) -> None:
        self.present = ExitStack()

    def switch(self, part: str | None) -> None:
        """End the present part and begin another; None: begin none."""
        self.present.close()
        if part:
            self.present.enter_context(record_function(part))


def write(recipe: Recipe, device: torch.device, path: Path) -> str:
    """Trace the recipe's own step into a file for Perfetto or chrome://tracing; returns the table of top operators."""
    images = batch(recipe, device)
    own = defense(recipe, recipe.defense, recipe.attack.steps, images)
    own.step(images.x, images.y)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    regions = Regions()
    with profile(activities=activities) as traced, Parts(own, regions.switch):
        for number in range(STEPS):
            with record_function(f"step {number + 1}"):
                own.step(images.x, images.y)
                synchronize(device)
                regions.switch(None)
    traced.export_chrome_trace(str(path))
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table: str = traced.key_averages().table(sort_by=order, row_limit=TOP, max_name_column_width=40)
    return table
