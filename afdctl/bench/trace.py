"""Record a profiler trace of a few steps: a timeline of operators under the phases of the step."""

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from afdctl.bench.step_time import make_batch, warm_up_steps
from afdctl.defenses.step_phases import StepPhases
from afdctl.models.cost import synchronize
from afdctl.recipe import Recipe
from afdctl.runs import files
from afdctl.training.cost_estimate import build_defense

TRACED_STEPS: Final = 2
TOP_OPERATORS: Final = 15


class PhaseRegions:
    """Labels the current phase in the trace."""

    def __init__(self) -> None:
        self.phase: str | None = None
        self.region = ExitStack()

    def switch(self, phase: str | None) -> None:
        """End the current region and begin one for another phase (None: no region)."""
        if phase == self.phase:
            return
        self.phase = phase
        self.region.close()
        if phase:
            self.region.enter_context(record_function(phase))


def write_trace(recipe: Recipe, device: torch.device, path: Path) -> str:
    """Trace the recipe's own step to a file for Perfetto or chrome://tracing; return the table of top operators."""
    images = make_batch(recipe, device)
    defense = build_defense(recipe, recipe.defense, recipe.attack.steps, images)
    for _ in range(warm_up_steps(device)):
        defense.step(images.x, images.y)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    regions = PhaseRegions()
    with profile(activities=activities) as profiler, StepPhases(defense, regions.switch):
        for number in range(TRACED_STEPS):
            with record_function(f"step {number + 1}"):
                defense.step(images.x, images.y)
                synchronize(device)
                regions.switch(None)
    with TemporaryDirectory() as folder:
        raw = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(raw))
        trace = json.loads(raw.read_text(encoding="utf-8"))
    files.write_text(path, json.dumps(clean_trace(trace)))
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table: str = profiler.key_averages().table(sort_by=order, row_limit=TOP_OPERATORS, max_name_column_width=40)
    return table


def clean_trace(trace: dict[str, Any]) -> dict[str, Any]:
    """Remove the profiler's own rows, and give processes and threads readable names.

    The profiler's own rows have text instead of a process id, and Perfetto shows each as a separate process.
    """
    events = [event for event in trace["traceEvents"] if isinstance(event["pid"], int)]
    devices = {event["pid"]: event["args"]["labels"] for event in events if event["name"] == "process_labels"}
    for event in events:
        if event["name"] == "process_name" and event["pid"] in devices:
            event["args"]["name"] = f"afdctl on {devices[event['pid']]}"
        elif event["name"] == "thread_name":
            # "thread 4711 (pt_autograd_0)": Perfetto adds the number itself
            event["args"]["name"] = event["args"]["name"].removeprefix(f"thread {event['tid']} (").removesuffix(")")
    return trace | {"traceEvents": events}
