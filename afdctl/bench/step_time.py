"""Time training steps, or trace a few of them for a profiler's timeline.

Steps are timed in turn in one process, so that other load on the machine slows all of them equally.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from afdctl import data, registry
from afdctl.defenses.base import Defense, Report
from afdctl.defenses.step_phases import PhaseCounter, StepPhases
from afdctl.models.cost import synchronize, timed
from afdctl.recipe import Recipe, dump
from afdctl.recipe.defenses import DefenseConfig
from afdctl.runs import files, results_file
from afdctl.runs.run import Run
from afdctl.training.cost_estimate import ImageBatch, build_defense, random_batch
from afdctl.training.metric_buffer import MetricBuffer
from afdctl.training.precision_choice import with_found_precisions

COMPARED: Final = ("afd", "adversarial", "trades")
# Steps timed by phase, and steps of the epoch whose journal is timed: 55,000 images of MNIST in batches of 128.
SHARE_STEPS: Final = 3
JOURNAL_STEPS: Final = 430
# All attack steps cost the same, so a short attack is enough to compare thread counts.
THREADS_ATTACK_STEPS: Final = 2
# Keys that are not taken over by the defenses that a recipe's own is compared with.
OWN_KEYS: Final = {"name", "awp_gamma", "awp_warmup_epochs"}
# Steps in a trace, and rows of its table of operators.
TRACED_STEPS: Final = 2
TOP_OPERATORS: Final = 15


class RatioEstimate(NamedTuple):
    """Ratio of the times of two steps: median and quartiles over rounds."""

    median: float
    low: float
    high: float


def short_name(recipe: Recipe) -> str:
    """Return the name of the recipe's defense in reports."""
    return report_name(recipe.defense.name)


def report_name(defense: str) -> str:
    """Return the name of a defense in reports."""
    descriptor = registry.describe(registry.DEFENSES, defense)
    return descriptor.short or (defense if defense in registry.DEFENSES else descriptor.label)


def make_batch(recipe: Recipe, device: torch.device) -> ImageBatch:
    """Make a random batch in the shape of the recipe's data set, which does not have to be on this machine."""
    info = data.loader_of(recipe.data.dataset).info
    channels, side, _ = info.shape if info else (recipe.data.channels or 3, recipe.data.image_size or 32, 0)
    side, classes = recipe.data.image_size or side, info.classes if info else 10
    return random_batch(recipe.train.batch_size, (channels, side, side), classes, device)


def build_defenses(recipe: Recipe, attack_steps: int, images: ImageBatch) -> dict[str, Defense]:
    """Build the recipe's own defense first, then AFD, AT and TRADES on its network, with its performance settings."""
    names = dict.fromkeys([recipe.defense.name, *COMPARED])
    return {
        report_name(name): build_defense(recipe, defense_table(recipe, name), attack_steps, images) for name in names
    }


def defense_table(recipe: Recipe, name: str) -> Any:
    """Return the recipe's [defense] table, or that of another defense, without AWP, with the same optimizer of L_C."""
    if recipe.defense.name == name:
        return recipe.defense
    model: Any = DefenseConfig.model_of({"name": name})
    return model(name=name, **recipe.defense.model_dump(include=set(DefenseConfig.model_fields) - OWN_KEYS))


def interleave(
    candidates: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of each candidate in each round, after rounds that only warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    warm_ups = warm_up_steps(device)
    for _ in range(warm_ups + rounds):
        for name, call in candidates.items():
            seconds[name].append(timed(call, device))
    return {name: times[warm_ups:] for name, times in seconds.items()}


def warm_up_steps(device: torch.device) -> int:
    """Return the number of slower steps at the start."""
    # modes of torch.compile that capture CUDA graphs run the first call, capture the second and replay the third
    return 3 if device.type == "cuda" else 1


def estimate_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> RatioEstimate:
    """Compare two steps by their times in the same round."""
    # in pairs, because other work on the machine slows both steps of a round
    pairs = [a / b for a, b in zip(numerators, denominators, strict=True)]
    low, _, high = quantiles(pairs, n=4)
    return RatioEstimate(median(pairs), low, high)


def time_phases(defense: Defense, images: ImageBatch) -> dict[str, float]:
    """Time a few eager steps; return each phase's share."""

    def clock() -> float:
        # otherwise a GPU's work would be attributed to the phase that waits for it
        synchronize(images.x.device)
        return time.perf_counter()

    counter = PhaseCounter(clock)
    with StepPhases(defense, counter.switch):
        for _ in range(SHARE_STEPS):
            defense.step(images.x, images.y)
            counter.switch("C")
    total = sum(counter.by_phase.values())
    return {phase: seconds / total for phase, seconds in counter.by_phase.items()}


def time_journal(recipe: Recipe, report: Report) -> float:
    """Write the journal and results.h5 of an epoch as the trainer does; return the seconds per step."""
    with TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "bench", dump(recipe), {})
        with run.open_journal() as journal:
            buffer = MetricBuffer()
            start = time.perf_counter()
            for step in range(1, JOURNAL_STEPS + 1):
                buffer.add({"event": "step", "step": step, "epoch": 1}, recipe.train.batch_size, report)
                if len(buffer) >= recipe.train.report_every:
                    journal.extend(buffer.flush())
            journal.extend(buffer.flush())
            journal.sync()
            results_file.build(run)
            return (time.perf_counter() - start) / JOURNAL_STEPS


def peak_memory(device: torch.device) -> int:
    """Return the peak bytes of tensors on a GPU, or of this whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # macOS reports bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def compare_threads(recipe: Recipe, images: ImageBatch, rounds: int) -> list[dict[str, Any]]:
    """Time the recipe's step at several CPU thread counts, relative to the current one; fastest first."""
    current = torch.get_num_threads()
    defense = build_defense(recipe, recipe.defense, min(recipe.attack.steps, THREADS_ATTACK_STEPS), images)

    def step(threads: int) -> None:
        torch.set_num_threads(threads)
        defense.step(images.x, images.y)

    counts = {current, *candidate_thread_counts()}
    try:
        seconds = interleave({str(count): partial(step, count) for count in counts}, rounds, images.x.device)
    finally:
        torch.set_num_threads(current)
    rows = [
        {"threads": count, "over_current": estimate_ratio(seconds[str(count)], seconds[str(current)])}
        for count in counts
    ]
    return sorted(rows, key=lambda row: row["over_current"].median)


def candidate_thread_counts() -> list[int]:
    """Return the powers of two up to the number of usable cores, and that number."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({*(1 << power for power in range(cores.bit_length()) if 1 << power <= cores), cores})


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
    recipe = with_found_precisions(recipe, images)
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
