"""A trace of a few steps: a timeline of operations under the parts of the step, and which of them take the most."""

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from afdctl.bench.parts import Parts
from afdctl.bench.steps import batch, defense, synchronize
from afdctl.recipe import Recipe
from afdctl.store import atomic

STEPS, TOP = 2, 15


class Regions:
    """Names the part at work in the trace."""

    def __init__(self) -> None:
        self.part: str | None = None
        self.region = ExitStack()

    def switch(self, part: str | None) -> None:
        """End the present part and begin another; None: begin none. The same once more only goes on."""
        if part == self.part:
            return
        self.part = part
        self.region.close()
        if part:
            self.region.enter_context(record_function(part))


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
    with TemporaryDirectory() as folder:
        raw = Path(folder, "trace.json")
        traced.export_chrome_trace(str(raw))
        events = json.loads(raw.read_text(encoding="utf-8"))
    atomic.write_text(path, json.dumps(tidied(events)))
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table: str = traced.key_averages().table(sort_by=order, row_limit=TOP, max_name_column_width=40)
    return table


def tidied(trace: dict[str, Any]) -> dict[str, Any]:
    """The trace without the tracer's own rows, its processes and threads called by names that people know.

    The tracer's rows have words where a process's number belongs, which Perfetto shows as processes of those names.
    """
    events = [event for event in trace["traceEvents"] if isinstance(event["pid"], int)]
    devices = {event["pid"]: event["args"]["labels"] for event in events if event["name"] == "process_labels"}
    for event in events:
        if event["name"] == "process_name" and event["pid"] in devices:
            event["args"]["name"] = f"afdctl on {devices[event['pid']]}"
        elif event["name"] == "thread_name":
            # "thread 4711 (pt_autograd_0)": Perfetto shows the number itself
            event["args"]["name"] = event["args"]["name"].removeprefix(f"thread {event['tid']} (").removesuffix(")")
    return trace | {"traceEvents": events}
