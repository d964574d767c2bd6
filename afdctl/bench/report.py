"""The benchmark's figures."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch

from afdctl.bench import eta, settings
from afdctl.bench.ceilings import Copy, Product, ceiling_of
from afdctl.bench.counting import Count, Operations, count
from afdctl.bench.journal import seconds_a_step
from afdctl.bench.memory import peak_bytes
from afdctl.bench.outline import cost
from afdctl.bench.parts import PARTS, Parts, Tally
from afdctl.bench.steps import (
    Batch,
    batch,
    defense,
    defenses,
    eager,
    interleaved,
    name_of,
    ratio,
    step_of,
    synchronize,
    warm_ups,
)
from afdctl.defenses.base import Defense
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe

STEPS_AN_EPOCH = 430
SPLIT_ROUNDS = 3


def measure(
    recipe: Recipe, attack_steps: Sequence[int], rounds: int, device: torch.device, *, choices: bool = True
) -> dict[str, Any]:
    """Counts, seconds and ratios for each number of attack steps; ratios are [median, lower quartile, upper quartile].

    `choices`: also what other settings would do. `dtype` is that of the matrix product.
    """
    images, dtype = batch(recipe, device), ceiling_of(recipe.train.precision, device)
    rows = [row(recipe, steps, images, rounds, dtype) for steps in attack_steps]
    return {
        "schema": "afdctl/1",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "precision": recipe.train.precision,
        "compile": recipe.train.compile,
        "dtype": dtype,
        "defense": name_of(recipe),
        "batch_size": recipe.train.batch_size,
        "steps": rows,
        "eta": eta.of_recipe(recipe, images, rows[0], cost(recipe, images.head(2))),
        "settings": settings.measure(recipe, images, rounds) if choices else [],
    }


def row(recipe: Recipe, attack_steps: int, images: Batch, rounds: int, dtype: str) -> dict[str, Any]:
    """One attack length: what the recipe's own step costs by count and by clock, and how it stands to the others."""
    made, own, device = defenses(recipe, attack_steps, images), name_of(recipe), images.x.device
    steps = {name: step_of(each, images) for name, each in made.items()}
    first = warm_ups(recipe.train.compile, device)
    for _ in range(first):
        report = steps[own]()
    memory = peak_bytes(device)
    shown = made[own] if eager(recipe) == recipe else defense(eager(recipe), recipe.defense, attack_steps, images)
    counted = count(shown, images.x, images.y)
    product, copy = Product(device, DTYPES[dtype]), Copy(device, counted.largest)
    candidates: dict[str, Callable[[], object]] = {**steps, "product": product, "copy": copy}
    seconds = interleaved(candidates, rounds, device, first)
    journal = seconds_a_step(recipe, report, STEPS_AN_EPOCH) / median(seconds[own])
    return {
        "attack_steps": attack_steps,
        **{f"{name}_seconds": median(seconds[name]) for name in steps},
        **ratios(seconds, own),
        "journal_share": journal,
        "peak_bytes": memory,
        "parts": parts(shown, images, counted, journal),
        "flop": sum(counted.flop.values()),
        "bytes": counted.traffic,
        "bytes_unfused": counted.unfused,
        **roofline(counted, seconds, own, product.flop, copy.moved),
    }


def ratios(seconds: Mapping[str, Sequence[float]], own: str) -> dict[str, Sequence[float]]:
    """AFD's step over AT's, TRADES' and the published one, TRADES' over AT's, and the recipe's own over each."""
    pairs = [("afd", "at"), ("afd", "trades"), ("afd", "published"), ("trades", "at")]
    pairs += [(own, other) for other in ("afd", "at", "trades") if other != own]
    return {f"{a}_over_{b}": ratio(seconds[a], seconds[b]) for a, b in dict.fromkeys(pairs)}


def roofline(
    counted: Count, seconds: Mapping[str, Sequence[float]], own: str, product: int, copied: int
) -> dict[str, float]:
    """The ceilings, the floor that they imply, and how near the step comes: medians over rounds.

    `utilisation` is the step's FLOP/s over the product's; `floor_over_step` counts the bandwidth too.
    """
    flop = sum(counted.flop.values())
    rounds = list(zip(seconds["product"], seconds["copy"], seconds[own], strict=True))
    floors = [max(flop / product * a, counted.traffic / copied * b) for a, b, _ in rounds]
    return {
        "product_flop_per_s": product / median(seconds["product"]),
        "copy_bytes_per_s": copied / median(seconds["copy"]),
        "floor_seconds": median(floors),
        "floor_over_step": median(floor / step for floor, (_, _, step) in zip(floors, rounds, strict=True)),
        "utilisation": median(flop / product * a / step for a, _, step in rounds),
    }


def parts(defense: Defense, images: Batch, counted: Count, journal: float) -> dict[str, dict[str, float | None]]:
    """Each part's forward-equivalents, by operations and by FLOP, its share of the FLOP and of the time.

    Shares of time are of an eager step and its journal together; what the count knows nothing of is None.
    """
    forward = forward_flop(defense, images)
    shares = shares_of_time(defense, images)
    flop = sum(counted.flop.values())
    rows: dict[str, dict[str, float | None]] = {
        part: {
            "passes": counted.passes[part],
            "flop": counted.flop[part],
            "flop_passes": counted.flop[part] / forward,
            "predicted": counted.flop[part] / flop,
            "share": shares[part] / (1 + journal),
        }
        for part in PARTS
    }
    nothing = dict.fromkeys(("passes", "flop", "flop_passes", "predicted"))
    return rows | {"journal": {**nothing, "share": journal / (1 + journal)}}


def forward_flop(defense: Defense, images: Batch) -> int:
    """FLOP of one forward pass of the network in evaluation mode."""
    defense.network.eval()
    with torch.no_grad(), Operations() as gauge:
        defense.network(images.x)
    defense.network.train()
    return int(gauge.flop)


def shares_of_time(defense: Defense, images: Batch) -> dict[str, float]:
    """Each part's share of a few steps' seconds."""

    def clock() -> float:
        synchronize(images.x.device)
        return time.perf_counter()

    tally = Tally(clock)
    with Parts(defense, tally.switch):
        for _ in range(SPLIT_ROUNDS):
            defense.step(images.x, images.y)
            tally.switch("C")
    whole = sum(tally.by_part.values())
    return {part: seconds / whole for part, seconds in tally.by_part.items()}
