"""Time attacks of afdctl against those of other libraries on one model: CPU seconds and the accuracy that is left.

Same images, same number of steps, in turn in one process on one thread. Each library runs as its documentation says, on
the plain network in channels-first memory; AutoAttack of torchattacks has 10 steps where the published one has 100, and
its constructor does not take another number.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import torch
import typer
from torch import Tensor, nn

from afdctl.cli.targets import find_targets
from afdctl.data.loader import as_floats
from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError
from afdctl.evaluation import plan, target
from afdctl.evaluation.batch import PreparedModel, attack_batch
from afdctl.evaluation.plan import Task
from afdctl.evaluation.verify import predict
from afdctl.suites import load
from afdctl.suites.attack_config import AttackConfig
from benchmarks.sweep_vs_foolbox import foolbox_attack, import_foolbox

# (plain network, x, y) -> x_adv
PeerAttack = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Images(NamedTuple):
    """A batch of test images x (n, c, h, w) in [0, 1] with labels y (n,), and their `places` (n,) in the split."""

    x: Tensor
    y: Tensor
    places: Tensor


def pgd_of_torchattacks(spec: Any, epsilon: float) -> PeerAttack:
    attack = import_module("torchattacks").PGD
    alpha = spec.step_size or spec.attack_kwargs()["rel_step"] * epsilon
    return lambda network, x, y: attack(network, eps=epsilon, alpha=alpha, steps=spec.steps)(x, y)


def square_of_torchattacks(spec: Any, epsilon: float) -> PeerAttack:
    attack = import_module("torchattacks").Square
    return lambda network, x, y: attack(network, eps=epsilon, n_queries=spec.queries)(x, y)


def autoattack_of_torchattacks(spec: Any, epsilon: float) -> PeerAttack:
    attack = import_module("torchattacks").AutoAttack
    return lambda network, x, y: attack(network, eps=epsilon, seed=0)(x, y)


def pyautoattack(spec: Any, epsilon: float, parts: tuple[str, ...] = ()) -> PeerAttack:
    """Run the reference AutoAttack, or some of its parts."""
    evaluation = import_module("pyautoattack").AutoAttack
    logging.getLogger("auto-attack").setLevel(logging.ERROR)

    def attack(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        standard = evaluation(network, norm="Linf", eps=epsilon, version="standard", device="cpu", seed=0)
        standard.attacks_to_run = list(parts) or standard.attacks_to_run
        for part in (standard.apgd, standard.apgd_targeted, standard.fab):
            part.n_iter = getattr(spec, "steps", 100)
        standard.square.n_queries = spec.queries
        x_adv: Tensor = standard.run_standard_evaluation(x, y, batch_size=len(x))[0]
        return x_adv

    return attack


def foolbox(spec: Any, epsilon: float) -> PeerAttack:
    import_foolbox()
    return lambda network, x, y: foolbox_attack(network, x, y, (epsilon,), spec)[0]


def ddn_of_adversarial_library(spec: Any, epsilon: float) -> PeerAttack:
    attack = import_module("adv_lib.attacks").ddn
    return partial(attack, steps=spec.steps, γ=spec.gamma, init_norm=spec.init_epsilon)


PEERS: Final[Mapping[str, Mapping[str, Callable[[Any, float], PeerAttack]]]] = {
    "pgd_linf": {"torchattacks": pgd_of_torchattacks, "foolbox": foolbox},
    "square": {
        "torchattacks": square_of_torchattacks,
        "pyautoattack": partial(pyautoattack, parts=("square",)),
    },
    "ddn": {"foolbox": foolbox, "adversarial-library": ddn_of_adversarial_library},
    "cw": {"foolbox": foolbox},
    "aa": {"pyautoattack": pyautoattack, "torchattacks": autoattack_of_torchattacks},
}


def plain_copy(network: nn.Module) -> nn.Module:
    """Return the network as other code builds it: parameters with gradients, channels first in memory."""
    plain = deepcopy(network).to(memory_format=torch.contiguous_format)
    return plain.eval().requires_grad_(True)


def ours(task: Task, images: Images, epsilon: float, precision: str) -> float:
    """Run afdctl's attack; return the accuracy that is left, verified in float32."""
    task = task.with_precision(precision)
    network = task.source.network
    model = PreparedModel(network, lambda: None, precision)
    float32_model = None if precision == "float32" else PreparedModel(network, lambda: None)
    (arrays,) = attack_batch(
        task, model, images.x, images.y, index=images.places, keep_images=False, float32_model=float32_model
    )
    return float(np.isinf(arrays[f"{epsilon:g}/distance"]).mean())


def theirs(attack: PeerAttack, network: nn.Module, images: Images, epsilon: float, spec: AttackConfig) -> float:
    x_adv = attack(network, images.x, images.y).detach()
    flat = (x_adv - images.x).flatten(1)
    size = flat.abs().amax(1) if spec.norm == "linf" else flat.norm(dim=1)
    # a minimum-norm attack may return what is outside of the ball
    return float(((predict(network, x_adv) == images.y) | (size > epsilon * 1.0001)).float().mean())


def measure(task: Task, epsilon: float, images: Images, rounds: int) -> dict[str, Any]:
    """Return seconds and accuracy of each way, in turn; seconds are the fastest of all rounds."""
    plain = plain_copy(task.source.network)
    ways: dict[str, Callable[[], float]] = {
        "afdctl": partial(ours, task, images, epsilon, "float32"),
        "afdctl in bf16": partial(ours, task, images, epsilon, "bf16"),
    }
    for name, make in PEERS[task.spec.name].items():
        try:
            ways[name] = partial(theirs, make(task.spec, epsilon), plain, images, epsilon, task.spec)
        except ModuleNotFoundError as error:
            typer.echo(f"{name}: left out, {error}", err=True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    accuracy: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            accuracy[name] = way()
            seconds[name].append(time.process_time() - start)
    return {
        "attack": task.spec.title,
        "seconds": {name: min(taken) for name, taken in seconds.items()},
        "accuracy": accuracy,
    }


def print_rows(row: Mapping[str, Any]) -> None:
    """Print each way's seconds, its accuracy, and what afdctl takes of its time."""
    for name, seconds in row["seconds"].items():
        ratios = ", ".join(
            f"{mine} {row['seconds'][mine] / seconds:.2f} of it"
            for mine in ("afdctl", "afdctl in bf16")
            if mine != name
        )
        typer.echo(f"{row['attack']}, {name}: {seconds:.1f} s, accuracy {100 * row['accuracy'][name]:.1f}; {ratios}")


def main(
    model: Annotated[str, typer.Argument(help="A run, or model:NAME.")] = "model:mnist_afd",
    attacks: Annotated[
        str, typer.Option(metavar="NAME,...", help="Of the suite strong.")
    ] = "pgd_linf,square,ddn,cw,aa",
    epsilon: Annotated[float, typer.Option(help="Radius of the linf attacks.")] = 0.3,
    epsilon_l2: Annotated[float, typer.Option(help="Radius of the l2 attacks.")] = 2.0,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of test images, in one batch.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured, in turn.")] = 1,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
    data_dir: Annotated[Path | None, typer.Option(help="Where the data sets are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of text.")] = False,
) -> None:
    """Time attacks of afdctl against other libraries' on one thread."""
    torch.set_num_threads(1)
    (run,) = find_targets([model], runs, data_dir)
    loaded = target.load_run_target(run, "best", torch.device("cpu"), data_dir)
    suite = load.load("strong", loaded.dataset, attacks=attacks.split(","), overrides=overrides or [])
    for task in plan.plan_white_box([loaded], lambda _: suite, seed=0, choose=partial(Subset.of, limit=limit)):
        radius = epsilon if task.spec.norm == "linf" else epsilon_l2
        single = task.with_epsilons([radius]).with_batch_size(limit)
        index = task.subset.index
        images = Images(as_floats(loaded.split.x[index]), loaded.split.y[index], index)
        row = measure(single, radius, images, rounds)
        typer.echo(json.dumps(row)) if as_json else print_rows(row)


if __name__ == "__main__":
    try:
        typer.run(main)
    except AfdctlError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
