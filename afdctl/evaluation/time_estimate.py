"""Estimate how long a sweep takes on this machine, and choose its batch size."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from afdctl.attacks.base import cross_entropy_per_sample, loss_and_gradient
from afdctl.data.loader import as_floats
from afdctl.errors import fit_in_memory, out_of_memory
from afdctl.evaluation import surrogates
from afdctl.evaluation.batch import PreparedModel, search
from afdctl.evaluation.plan import Task
from afdctl.evaluation.survivors import attacked_shares
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.autoattack import AA

ROUNDS = 2
# settings of an attack that is only timed, at most
TRIAL_SETTINGS = {
    "steps": 3,
    "queries": 10,
    "samples": 3,
    "binary_search_steps": 1,
    "restarts": 1,
    "targets": 1,
    "epochs": 1,
}
TRIED_IMAGES = 2
# where a batch's passes take longer, an attack's own arithmetic is negligible, and a trial would take long
FAST_BATCH_SECONDS = 0.05
CUDA_BATCH_SIZE = 1024
# tried on the CPU: small networks are faster in larger batches, until their maps no longer fit its cache
CPU_BATCH_SIZES = (128, 256, 512)
# a larger batch must take at most this share of the time per image
MIN_GAIN = 0.95
# a network whose smallest batch takes longer gains nothing by larger ones
SLOW_BATCH_SECONDS = 0.15


def default_batch_size(device: torch.device) -> int:
    """Return the batch size of attacks whose result depends on it."""
    return CUDA_BATCH_SIZE if device.type == "cuda" else CPU_BATCH_SIZES[0]


def choose_batch_size(target: EvaluationTarget, n: int, specs: Iterable[AttackConfig]) -> int:
    """Choose how many of n images to attack at once; on the CPU by timing a few attack steps, well under a second.

    An attack whose results depend on the batch size always gets the same one.
    """
    first = default_batch_size(target.split.x.device)
    larger = () if first == CUDA_BATCH_SIZE else CPU_BATCH_SIZES[1:]
    sizes = [first, *(size for size in larger if size <= n)]
    if len(sizes) == 1 or any(spec.batch_dependent for spec in specs):
        return first
    steps = {size: attack_step(target, size) for size in sizes}
    if not fits_in_memory(steps[first]) or fastest_seconds(steps[first]) > SLOW_BATCH_SECONDS:
        return first
    sizes = [size for size, step in steps.items() if size == first or fits_in_memory(step)]
    # alternate between sizes, so that a busy machine slows all of them alike
    rounds = [{size: measure_seconds(steps[size]) / size for size in sizes} for _ in range(ROUNDS)]
    per_image = {size: min(times[size] for times in rounds) for size in sizes}
    fastest = min(sizes, key=per_image.__getitem__)
    return fastest if per_image[fastest] < MIN_GAIN * per_image[first] else first


def attack_step(target: EvaluationTarget, size: int, precision: str = "float32") -> Callable[[], None]:
    """Return a function that runs a forward and a backward pass of the first `size` images."""
    x, y = as_floats(target.split.x[:size]), target.split.y[:size]
    model = PreparedModel(target.network, lambda: None, precision)

    def step() -> None:
        # item() waits for the device
        loss_and_gradient(model, cross_entropy_per_sample, x, y)[2].sum().item()

    return step


def fits_in_memory(work: Callable[[], None]) -> bool:
    """Try some work, and return whether memory sufficed."""
    try:
        work()
    except Exception as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def estimate_seconds(tasks: Sequence[Task], batch_size: int) -> dict[tuple[str, str], float]:
    """Estimate the time of each (attack, source) if every sample takes all passes; most attacks stop many early.

    AutoAttack's later parts take the samples that a short APGD does not fool. Another process may need the machine.
    """
    times: dict[tuple[str, int, str], CallSeconds] = {}
    estimates = {}
    for task in tasks:
        size = min(batch_size, task.n)
        # the attacks on one network may differ in precision
        key = task.source.digest, size, task.precision
        times[key] = times.get(key) or CallSeconds.of(task.source, size, task.precision)
        estimates[task.spec.title, task.source.name] = task_seconds(task, batch_size, times[key])
    return estimates


@dataclass(frozen=True)
class CallSeconds:
    """Seconds of a forward pass, and what a backward pass adds: of one image, and of `size` images at once."""

    size: int
    one: tuple[float, float]
    all: tuple[float, float]

    @classmethod
    def of(cls, target: EvaluationTarget, size: int, precision: str = "float32") -> Self:
        """Time both; a call has a cost of its own, which is most of it for a few images."""
        forward, backward = pass_seconds(target, size, precision)
        return cls(size, pass_seconds(target, 1, precision), (size * forward, size * backward))

    def call(self, images: float) -> tuple[float, float]:
        """Return the seconds for a number of images, or for the share of calls that have one."""
        share = (max(images, 1.0) - 1) / max(self.size - 1, 1)
        forward, backward = (one + max(0.0, all_ - one) * share for one, all_ in zip(self.one, self.all, strict=True))
        return forward * min(images, 1.0), backward * min(images, 1.0)


def task_seconds(task: Task, batch_size: int, times: CallSeconds) -> float:
    """Estimate the time of one task."""
    total = surrogates.estimate_seconds(task, times.all[0] / times.size) if task.spec.distils else 0.0
    shares = [(1.0, 1.0)] * len(task.epsilons)
    parts: tuple[AttackConfig, ...] = (task.spec,)
    if isinstance(task.spec, AA):
        shares, parts = attacked_shares(task), task.spec.parts()
    forward, backward = (seconds / times.size for seconds in times.all)
    for number, part in enumerate(parts):
        forwards, backwards = part.passes(task.source.classes)
        seconds = 0.0
        # a search for the nearest fooling image serves all epsilons
        for pair in [max(shares)] if part.minimises else shares:
            for images in _batches(task.n, batch_size):
                of_forward, of_backward = times.call(images * pair[min(number, 1)])
                seconds += forwards * of_forward + backwards * of_backward
        total += seconds * _overhead(task, part, batch_size, forward=forward, backward=backward)
    return total


def _batches(n: int, size: int) -> list[int]:
    return [min(size, n - first) for first in range(0, n, size)]


def _overhead(task: Task, part: AttackConfig, batch_size: int, *, forward: float, backward: float) -> float:
    """Time a short trial of an attack, relative to its passes through the network; 1 for a slow network."""
    # on a small network an attack's own arithmetic takes as long as the passes: on digits the ratio is 1.2 (PGD) to 3
    # (FGSM)
    if (forward + backward) * batch_size > FAST_BATCH_SECONDS:
        return 1.0
    trial = trial_of(part)
    model = PreparedModel(task.source.network, lambda: None, task.precision)

    def measure(size: int) -> float:
        x, y = as_floats(task.source.split.x[:size]), task.source.split.y[:size]
        passes_seconds = 0.0

        def attack() -> None:
            nonlocal passes_seconds
            results = search(trial, model, x, y, seed=task.seed, numbers=list(range(size))).values()
            forwards = sum(int(result.forwards.sum()) for result in results)
            backwards = sum(int(result.backwards.sum()) for result in results)
            passes_seconds = forwards * forward + backwards * backward

        return fastest_seconds(attack) / max(passes_seconds, 1e-9)

    return max(1.0, fit_in_memory(measure, min(batch_size, task.n)))


def trial_of(spec: AttackConfig) -> AttackConfig:
    """Return a short form of an attack, at its largest epsilon."""
    settings = {
        name: min(most, getattr(spec, name)) for name, most in TRIAL_SETTINGS.items() if name in type(spec).model_fields
    }
    return spec.model_copy(update=settings | {"epsilons": (0.0, spec.epsilons[-1]), "schedule": None})


def try_user_attacks(specs: Iterable[AttackConfig], target: EvaluationTarget) -> None:
    """Run each of a user's attacks briefly on two images: one that fails must not do so after hours of others.

    It also imports and reads then what it needs, which is part of its digest. Error: RecipeError.
    """
    x, y = as_floats(target.split.x[:TRIED_IMAGES]), target.split.y[:TRIED_IMAGES]
    for spec in specs:
        if spec.user_attack:
            model = PreparedModel(target.network, lambda: None)
            search(trial_of(spec), model, x, y, seed=0, numbers=list(range(len(x))))


def pass_seconds(target: EvaluationTarget, batch_size: int, precision: str = "float32") -> tuple[float, float]:
    """Time a forward pass, and what a backward pass adds to it, per sample of a batch."""
    model = PreparedModel(target.network, lambda: None, precision)

    def measure(size: int) -> tuple[float, float]:
        x, both = as_floats(target.split.x[:size]), attack_step(target, size, precision)

        def forward() -> None:
            with torch.no_grad():
                model(x).sum().item()

        forward_seconds = fastest_seconds(forward)
        return forward_seconds / len(x), max(fastest_seconds(both) - forward_seconds, 0.0) / len(x)

    return fit_in_memory(measure, min(batch_size, len(target.split)))


def fastest_seconds(work: Callable[[], None]) -> float:
    """Time some work: the fastest of a few rounds after a warm-up."""
    work()
    return min(measure_seconds(work) for _ in range(ROUNDS))


def measure_seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
