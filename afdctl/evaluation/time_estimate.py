"""How long a sweep may take on this machine, before it begins."""

import time
from collections.abc import Callable, Iterable, Sequence

import torch

from afdctl.attacks.base import AttackResult, cross_entropy_per_sample, loss_and_gradient
from afdctl.data.loader import as_floats
from afdctl.errors import fit_in_memory, out_of_memory
from afdctl.evaluation.batch import prepare_model, search
from afdctl.evaluation.plan import Task
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.schema import AA

ROUNDS = 2
TRIAL = {"steps": 3, "queries": 10, "samples": 3, "binary_search_steps": 1, "restarts": 1, "targets": 1}
"""Knobs of an attack that is only timed."""
PASSES = ("forwards", "backwards")
FAST_SECONDS = 0.05
"""A step of a batch that takes longer leaves an attack's own arithmetic behind, and trials would take long."""
CUDA_BATCH = 1024
BATCHES = (128, 256, 512)
"""Tried on the CPU: small networks gain by larger ones, until their maps no longer fit its cache."""
GAIN, SLOW_SECONDS = 0.95, 0.15
"""A larger batch has to be faster by so much; a network with such a slow step of the smallest has nothing to gain."""


def batch_size_for(subject: EvaluationTarget, n: int, specs: Iterable[AttackConfig]) -> int:
    """How many of n images to attack at once: on the CPU the fastest by a few attack steps, well under a second.

    An attack whose results depend on it gets the same everywhere and always.
    """
    if subject.split.x.device.type == "cuda":
        return CUDA_BATCH
    first, *larger = BATCHES
    sizes = [first, *(size for size in larger if size <= n)]
    if len(sizes) == 1 or any(spec.batch_dependent for spec in specs):
        return first
    steps = {size: attack_step(subject, size) for size in sizes}
    if not fits_in_memory(steps[first]) or timed(steps[first]) > SLOW_SECONDS:
        return first
    sizes = [size for size, step in steps.items() if size == first or fits_in_memory(step)]
    # in turn, so that a busy machine slows all of them alike
    rounds = [{size: seconds(steps[size]) / size for size in sizes} for _ in range(ROUNDS)]
    each = {size: min(times[size] for times in rounds) for size in sizes}
    fastest = min(sizes, key=each.__getitem__)
    return fastest if each[fastest] < GAIN * each[first] else first


def attack_step(subject: EvaluationTarget, size: int, precision: str = "float32") -> Callable[[], None]:
    """A forward and a backward pass of the first `size` images."""
    x, y = as_floats(subject.split.x[:size]), subject.split.y[:size]
    model = prepare_model(subject.network, lambda: None, precision)

    def step() -> None:
        # wait for the device
        loss_and_gradient(model, cross_entropy_per_sample, x, y)[2].sum().item()

    return step


def fits_in_memory(work: Callable[[], None]) -> bool:
    """Whether the memory has room for it."""
    try:
        work()
    except Exception as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def estimated_seconds(tasks: Sequence[Task], batch_size: int) -> dict[tuple[str, str], float]:
    """(attack, source) -> the time that it takes if every sample takes all passes; most attacks end many early.

    It is an estimate: a small batch costs more for each sample, and another process may need the machine.
    """
    sources = {task.source.digest: task for task in tasks}
    passes = {digest: seconds_a_pass(task.source, batch_size, task.precision) for digest, task in sources.items()}
    return {
        (task.spec.title, task.source.name): task_seconds(task, batch_size, *passes[task.source.digest])
        for task in tasks
    }


def task_seconds(task: Task, batch_size: int, forward: float, backward: float) -> float:
    """The same of one task, given the seconds of a pass of one sample."""
    total = 0.0
    for part in task.spec.parts() if isinstance(task.spec, AA) else (task.spec,):
        forwards, backwards = part.passes(task.source.classes)
        epsilons = 1 if part.minimises else len(task.epsilons)
        seconds_of_passes = task.n * epsilons * (forwards * forward + backwards * backward)
        total += seconds_of_passes * overhead(task, part, batch_size, forward, backward)
    return total


def overhead(task: Task, part: AttackConfig, batch_size: int, forward: float, backward: float) -> float:
    """How many times longer an attack takes than its passes through the network, by a short trial; 1 for a slow one.

    On a small network an attack's own arithmetic takes as long as the passes: measured on digits 1.2 (PGD) to 3 (FGSM).
    """
    if (forward + backward) * batch_size > FAST_SECONDS:
        return 1.0
    knobs = {knob: min(most, getattr(part, knob)) for knob, most in TRIAL.items() if knob in type(part).model_fields}
    short = part.model_copy(update=knobs | {"epsilons": (0.0, part.epsilons[-1]), "schedule": None})
    model = prepare_model(task.source.network, lambda: None, task.precision)

    def trial(size: int) -> float:
        x, y = as_floats(task.source.split.x[:size]), task.source.split.y[:size]
        found: dict[float, AttackResult] = {}

        def attack() -> None:
            found.update(search(short, task.seed, model, x, y, torch.ones_like(y, dtype=torch.bool), 0))

        took = timed(attack)
        forwards, backwards = (sum(int(getattr(one, name).sum()) for one in found.values()) for name in PASSES)
        return took / max(forwards * forward + backwards * backward, 1e-9)

    return max(1.0, fit_in_memory(trial, min(batch_size, task.n)))


def seconds_a_pass(subject: EvaluationTarget, batch_size: int, precision: str = "float32") -> tuple[float, float]:
    """Seconds of a forward pass, and of what a backward pass adds to it, for each sample of a batch."""
    model = prepare_model(subject.network, lambda: None, precision)

    def measured(size: int) -> tuple[float, float]:
        x, both = as_floats(subject.split.x[:size]), attack_step(subject, size, precision)

        def forward() -> None:
            with torch.no_grad():
                model(x).sum().item()

        return timed(forward) / len(x), max(timed(both) - timed(forward), 0.0) / len(x)

    return fit_in_memory(measured, min(batch_size, len(subject.split)))


def timed(work: Callable[[], None]) -> float:
    """The least seconds of a few rounds, after one that warms up."""
    work()
    return min(seconds(work) for _ in range(ROUNDS))


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
