"""Measure a recipe on this machine: counts, times, the roofline and the time of the whole training."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from afdctl.bench.flop_counter import StepCount, count_forward, count_step
from afdctl.bench.recipe_time import MeasuredStep, estimate_recipe_time
from afdctl.bench.step_time import (
    RatioEstimate,
    build_defenses,
    compare_threads,
    estimate_ratio,
    interleave,
    make_batch,
    peak_memory,
    short_name,
    time_journal,
    time_phases,
    warm_up_steps,
)
from afdctl.defenses.base import Defense
from afdctl.defenses.step_phases import PHASES
from afdctl.models.cost import CopyBenchmark, MatmulBenchmark, ceiling_dtype
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe
from afdctl.training.cost_estimate import COUNTED_IMAGES, ImageBatch, build_defense, estimate_cost, with_train_settings


def measure(
    recipe: Recipe, attack_steps: Sequence[int], rounds: int, device: torch.device, *, try_threads: bool = True
) -> dict[str, Any]:
    """Return counts, seconds and ratios for each number of attack steps.

    A ratio is [median, lower quartile, upper quartile]. `dtype` is that of the matrix product. `try_threads` also
    measures other thread counts, on a CPU only.
    """
    images, dtype = make_batch(recipe, device), ceiling_dtype(recipe.train.precision, device)
    rows = [measure_steps(recipe, steps, images, rounds, dtype) for steps in attack_steps]
    step = MeasuredStep(rows[0]["attack_steps"], rows[0][f"{short_name(recipe)}_seconds"])
    cost = estimate_cost(recipe, images.head(COUNTED_IMAGES))
    return {
        "schema": "afdctl/1",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "precision": recipe.train.precision,
        "compile": recipe.train.compile,
        "dtype": dtype,
        "defense": short_name(recipe),
        "batch_size": recipe.train.batch_size,
        "steps": rows,
        "eta": estimate_recipe_time(recipe, images, step, cost),
        "thread_counts": compare_threads(recipe, images, rounds) if try_threads and device.type == "cpu" else [],
    }


def measure_steps(recipe: Recipe, attack_steps: int, images: ImageBatch, rounds: int, dtype: str) -> dict[str, Any]:
    """Measure one attack length: counts and times of the recipe's own step, and its ratios to other defenses."""
    defenses, own, device = build_defenses(recipe, attack_steps, images), short_name(recipe), images.x.device
    steps = {name: partial(defense.step, images.x, images.y) for name, defense in defenses.items()}
    for _ in range(warm_up_steps(device)):
        report = steps[own]()
    # before anything else allocates, so that it is the peak of the recipe's own step
    memory = peak_memory(device)
    # phases are visible in eager steps only
    eager = with_train_settings(recipe, compile=False)
    counted = defenses[own] if eager == recipe else build_defense(eager, recipe.defense, attack_steps, images)
    count = count_step(counted, images.x, images.y)
    product, copy = MatmulBenchmark(device, DTYPES[dtype]), CopyBenchmark(device, count.largest)
    candidates: dict[str, Callable[[], object]] = {**steps, "product": product, "copy": copy}
    seconds = interleave(candidates, rounds, device)
    journal_share = time_journal(recipe, report) / median(seconds[own])
    return {
        "attack_steps": attack_steps,
        **{f"{name}_seconds": median(seconds[name]) for name in steps},
        **defense_ratios(seconds, own),
        "journal_share": journal_share,
        "peak_bytes": memory,
        "phases": phase_table(counted, images, count, journal_share),
        "flop": count.total_flop,
        "bytes": count.traffic,
        "bytes_unfused": count.unfused,
        **roofline(count, seconds, own, product.flop, copy.moved),
    }


def defense_ratios(seconds: Mapping[str, Sequence[float]], own: str) -> dict[str, RatioEstimate]:
    """Return AFD's step over AT's and TRADES', TRADES' over AT's, and the recipe's own over each."""
    pairs = [("afd", "at"), ("afd", "trades"), ("trades", "at")]
    pairs += [(own, other) for other in ("afd", "at", "trades") if other != own]
    return {f"{a}_over_{b}": estimate_ratio(seconds[a], seconds[b]) for a, b in dict.fromkeys(pairs)}


def roofline(
    count: StepCount, seconds: Mapping[str, Sequence[float]], own: str, product_flop: int, copied: int
) -> dict[str, float]:
    """Return the device's peak rates, the minimum time of a step and how close the step is, as medians over rounds.

    `utilisation` is the step's FLOP/s over the product's; `floor_over_step` also considers the memory bandwidth.
    """
    flop = count.total_flop
    rounds = list(zip(seconds["product"], seconds["copy"], seconds[own], strict=True))
    floors = [max(flop / product_flop * a, count.traffic / copied * b) for a, b, _ in rounds]
    return {
        "product_flop_per_s": product_flop / median(seconds["product"]),
        "copy_bytes_per_s": copied / median(seconds["copy"]),
        "floor_seconds": median(floors),
        "floor_over_step": median(floor / step for floor, (_, _, step) in zip(floors, rounds, strict=True)),
        "utilisation": median(flop / product_flop * a / step for a, _, step in rounds),
    }


def phase_table(
    defense: Defense, images: ImageBatch, count: StepCount, journal_share: float
) -> dict[str, dict[str, float | None]]:
    """Return each phase's forward-equivalents (by passes and by FLOP) and its share of the FLOP and of the time.

    Shares of time refer to an eager step plus its journal. The journal has no counts (None).
    """
    forward = count_forward(defense.network, images.x)
    shares = time_phases(defense, images)
    rows: dict[str, dict[str, float | None]] = {
        phase: {
            "passes": count.passes[phase],
            "flop": count.flop[phase],
            "flop_passes": count.flop[phase] / forward,
            "predicted": count.flop[phase] / count.total_flop,
            "share": shares[phase] / (1 + journal_share),
        }
        for phase in PHASES
    }
    no_counts = dict.fromkeys(("passes", "flop", "flop_passes", "predicted"))
    return rows | {"journal": {**no_counts, "share": journal_share / (1 + journal_share)}}
