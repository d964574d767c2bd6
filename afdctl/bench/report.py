"""Measure a recipe on this machine: counts, times, the roofline and the time of the whole training."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, Final, NamedTuple

import torch

from afdctl import data
from afdctl.attacks.pgd import pgd
from afdctl.bench.compilation import measure_compilation
from afdctl.bench.flop_counter import StepCount, count_forward, count_step
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
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split, count_batches
from afdctl.defenses.base import Defense
from afdctl.defenses.step_phases import PHASES
from afdctl.models.cost import CopyBenchmark, CostEstimate, MatmulBenchmark, timed
from afdctl.models.precision import DTYPES
from afdctl.recipe import Recipe
from afdctl.training.cost_estimate import (
    COUNTED_IMAGES,
    ImageBatch,
    build_defense,
    build_network,
    ceiling_dtypes,
    dtype_of,
    estimate_cost,
    with_train_settings,
)
from afdctl.training.evaluate import evaluate
from afdctl.training.passes import passes_of_test, passes_of_validation
from afdctl.training.precision_choice import with_found_precisions
from afdctl.training.schedule import AdversarySchedule, ValidationSchedule

# The test evaluates the last checkpoint and the best one.
TESTED_CHECKPOINTS: Final = 2
# The evaluation that is timed has this number of PGD steps.
TIMED_PGD_STEPS: Final = 2


def measure(
    recipe: Recipe, attack_steps: Sequence[int], rounds: int, device: torch.device, *, try_threads: bool = True
) -> dict[str, Any]:
    """Return counts, seconds and ratios for each number of attack steps.

    A ratio is [median, lower quartile, upper quartile]. `dtypes` are those of the matrix products that bound the passes
    of the attack and of the training. `try_threads` also measures other thread counts, on a CPU only.
    """
    images = make_batch(recipe, device)
    recipe = with_found_precisions(recipe, images)
    dtypes, compilation = ceiling_dtypes(recipe, device), measure_compilation(recipe, images, rounds)
    rows = [measure_steps(recipe, steps, images, rounds, dtypes) for steps in attack_steps]
    step = MeasuredStep(rows[0]["attack_steps"], rows[0][f"{short_name(recipe)}_seconds"])
    cost = estimate_cost(recipe, images.head(COUNTED_IMAGES))
    return {
        "schema": "afdctl/1",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "precisions": {"attack": recipe.attack.precision, "train": recipe.train.precision},
        "compile": recipe.train.compile,
        "compilation": compilation,
        "dtypes": dtypes,
        "defense": short_name(recipe),
        "batch_size": recipe.train.batch_size,
        "steps": rows,
        "eta": estimate_recipe_time(recipe, images, step, cost),
        "thread_counts": compare_threads(recipe, images, rounds) if try_threads and device.type == "cpu" else [],
    }


def measure_steps(
    recipe: Recipe, attack_steps: int, images: ImageBatch, rounds: int, dtypes: Mapping[str, str]
) -> dict[str, Any]:
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
    products = {dtype: MatmulBenchmark(device, DTYPES[dtype]) for dtype in set(dtypes.values())}
    copy = CopyBenchmark(device, count.largest)
    candidates: dict[str, Callable[[], object]] = {**steps, **products, "copy": copy}
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
        **roofline(
            count,
            step=median(seconds[own]),
            rates={dtype: peak_rate(product.flop, seconds[dtype]) for dtype, product in products.items()},
            copy_rate=peak_rate(copy.moved, seconds["copy"]),
            dtypes=dtypes,
        ),
    }


def defense_ratios(seconds: Mapping[str, Sequence[float]], own: str) -> dict[str, RatioEstimate]:
    """Return AFD's step over AT's and TRADES', TRADES' over AT's, and the recipe's own over each."""
    pairs = [("afd", "at"), ("afd", "trades"), ("trades", "at")]
    pairs += [(own, other) for other in ("afd", "at", "trades") if other != own]
    return {f"{a}_over_{b}": estimate_ratio(seconds[a], seconds[b]) for a, b in dict.fromkeys(pairs)}


def roofline(
    count: StepCount, *, step: float, rates: Mapping[str, float], copy_rate: float, dtypes: Mapping[str, str]
) -> dict[str, Any]:
    """Return the device's peak speeds, the minimum time of a step, and how close the measured `step` is to it.

    `rates` are the FLOP/s of the matrix products by dtype, `copy_rate` the bytes per second of a copy. `utilisation` is
    the step's FLOP/s over the product's; `floor_over_step` also considers the memory bandwidth. Both are None where a
    step was faster than its minimum, because other work slowed every product or copy.
    """
    flop_floor = sum(flop / rates[dtype_of(phase, dtypes)] for phase, flop in count.flop.items())
    floor = max(flop_floor, count.traffic / copy_rate)
    return {
        "product_flop_per_s": rates,
        "copy_bytes_per_s": copy_rate,
        "floor_seconds": floor,
        "floor_over_step": possible_share(floor / step),
        "utilisation": possible_share(flop_floor / step),
    }


def peak_rate(work: int, seconds: Sequence[float]) -> float:
    """Return FLOP or bytes per second in the fastest of all rounds."""
    # on a busy machine the median is that of a disturbed product, and a step then appears to exceed the peak
    return work / min(seconds)


def possible_share(share: float) -> float | None:
    """Return a share of the peak, or None for one above 1, which shows that the peak was measured too low."""
    return share if share <= 1 else None


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


class MeasuredStep(NamedTuple):
    """Seconds of a step at one length of the attack."""

    attack_steps: int
    seconds: float


def estimate_recipe_time(
    recipe: Recipe, images: ImageBatch, step: MeasuredStep, cost: CostEstimate
) -> dict[str, float] | None:
    """Return the seconds of the whole training on this machine; None for images of the user, whose number is unknown.

    The measured step is scaled by FLOP to the recipe's attack length. If a schedule changes the length, values are
    means over all epochs.
    """
    info = data.loader_of(recipe.data.dataset).info
    if info is None:
        return None
    training_images = min(info.train - recipe.data.holdout, recipe.data.train_limit or info.train)
    steps = count_batches(training_images, recipe.train.batch_size)
    attack_steps = AdversarySchedule(recipe, steps).mean_attack_steps()
    # by FLOP and not by attack steps, because L_C, L_D and L_F cost the same at any attack length
    flop, measured_flop = (sum(cost.flop(count).values()) for count in (attack_steps, step.attack_steps))
    step_seconds = step.seconds * flop / measured_flop
    pass_seconds = time_evaluation_pass(recipe, images)
    schedule = ValidationSchedule(recipe, training_images, recipe.data.holdout)
    validation_images = min(recipe.data.holdout, recipe.validation.limit)
    validation = pass_seconds * validation_images * passes_of_validation(recipe)
    test_images = TESTED_CHECKPOINTS * len(recipe.attack.balls) * min(info.test, recipe.test.limit or info.test)
    test = pass_seconds * test_images * passes_of_test(recipe.test)
    epochs = recipe.train.epochs
    return {
        "epochs": epochs,
        "steps_per_epoch": steps,
        "attack_steps": attack_steps,
        "step_seconds": step_seconds,
        "epoch_seconds": steps * step_seconds,
        "validation_seconds": validation,
        "validation_interval": schedule.interval,
        "validation_share": schedule.share,
        "test_seconds": test,
        "total_seconds": epochs * steps * step_seconds + schedule.count * validation + test,
    }


def time_evaluation_pass(recipe: Recipe, images: ImageBatch) -> float:
    """Time a short evaluation; return the seconds of one forward-equivalent of one image."""
    device = images.x.device
    short = recipe.test.model_copy(update={"steps": TIMED_PGD_STEPS, "square_queries": 0})
    n = min(short.batch_size, 2 * len(images.x))
    # the batch of the step may be smaller than that of the evaluation, and small batches are slower per image
    x = images.x.repeat(-(-n // len(images.x)), 1, 1, 1)[:n]
    split = Split(ImageTensors((255 * x).byte(), torch.zeros(n, dtype=torch.int64)), device)
    network, ball = build_network(recipe, images), recipe.attack
    # all steps, also of images that are fooled earlier
    attack = partial(pgd, norm=ball.norm, epsilon=ball.epsilon, steps=short.steps, early_stop=False)

    def run() -> None:
        evaluate(network, split, [attack], batch_size=n)

    run()  # warm-up
    return timed(run, device) / n / passes_of_test(short)
