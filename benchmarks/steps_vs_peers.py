"""Time training steps of afdctl against those of other libraries, each as its own documentation uses it.

Same network, same images, in turn in one process; CPU seconds, because other load on the machine does not count then.
`textbook` is the loop that most papers' code has: a plain network in channels-first memory, PGD with its gradient to
the images in evaluation mode, then a step of SGD in training mode; with autocast around every pass in bfloat16.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from afdctl import recipe
from afdctl.bench.step_time import estimate_ratio, make_batch
from afdctl.errors import AfdctlError
from afdctl.recipe import Recipe
from afdctl.runs.provenance import with_precisions
from afdctl.training.cost_estimate import (
    FLOAT32,
    ImageBatch,
    build_defense,
    build_network,
)
from benchmarks.step_vs_published import published_defense

BF16: Final = {"attack": "bf16", "train": "bf16"}
RATIOS: Final = (
    ("AT", "textbook"),
    ("AT", "torchattacks"),
    ("AT", "ART"),
    ("AT in bf16", "textbook in bf16"),
    ("AT in bf16", "AT"),
    ("AFD", "published"),
    ("AFD, attack in bf16", "published"),
    ("AFD in bf16", "published"),
)

Step = Callable[[], object]


class Textbook:
    """A step of AT on a plain network; `precision` bf16 puts autocast around every pass."""

    def __init__(self, chosen: Recipe, images: ImageBatch, steps: int, precision: str = "float32") -> None:
        self.images, self.steps, self.precision = images, steps, precision
        self.epsilon, self.step_size = chosen.attack.epsilon, 2.5 * chosen.attack.epsilon / steps
        network = build_network(with_precisions(chosen, FLOAT32), images)
        self.network = network.to(memory_format=torch.contiguous_format)
        table = chosen.defense
        self.optimizer = torch.optim.SGD(
            network.parameters(), table.lr_C, momentum=table.momentum_C, weight_decay=table.weight_decay_C
        )

    def autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def __call__(self) -> None:
        x, y = self.images.x, self.images.y
        self.network.eval()
        x_adv = self.attack(x, y)
        self.network.train()
        self.optimizer.zero_grad()
        with self.autocast():
            loss = cross_entropy(self.network(x_adv), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def attack(self, x: Tensor, y: Tensor) -> Tensor:
        x_adv = (x + torch.empty_like(x).uniform_(-self.epsilon, self.epsilon)).clamp(0, 1)
        for _ in range(self.steps):
            x_adv.requires_grad_()
            with self.autocast():
                loss = cross_entropy(self.network(x_adv), y)
            (gradient,) = torch.autograd.grad(loss, x_adv)
            moved = x_adv.detach() + self.step_size * gradient.sign()
            x_adv = torch.clamp(moved, x - self.epsilon, x + self.epsilon).clamp(0, 1)
        return x_adv


class Torchattacks(Textbook):
    """The textbook step with PGD of torchattacks."""

    def attack(self, x: Tensor, y: Tensor) -> Tensor:
        pgd = import_module("torchattacks").PGD
        x_adv: Tensor = pgd(self.network, eps=self.epsilon, alpha=self.step_size, steps=self.steps)(x, y)
        return x_adv


def art_step(chosen: Recipe, images: ImageBatch, steps: int) -> Step:
    """Return a step of ART's `AdversarialTrainerMadryPGD`."""
    plain = Textbook(chosen, images, steps)
    estimator = import_module("art.estimators.classification").PyTorchClassifier(
        plain.network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.x.shape[1:]),
        nb_classes=images.classes,
        optimizer=plain.optimizer,
        clip_values=(0, 1),
        device_type="cpu",
    )
    trainer = import_module("art.defences.trainer").AdversarialTrainerMadryPGD(
        estimator,
        nb_epochs=1,
        batch_size=len(images.x),
        eps=plain.epsilon,
        eps_step=plain.step_size,
        max_iter=steps,
        num_random_init=1,
    )
    x, y = images.x.numpy(), np.eye(images.classes, dtype=np.float32)[images.y.numpy()]
    return lambda: trainer.fit(x, y)


def defense_step(chosen: Recipe, precisions: Mapping[str, str], images: ImageBatch, steps: int) -> Step:
    """Return the step of the recipe's defense."""
    chosen = with_precisions(chosen, precisions)
    defense = build_defense(chosen, chosen.defense, steps, images)
    return partial(defense.step, images.x, images.y)


def candidates(at: Recipe, afd: Recipe, images: ImageBatch, steps: int) -> dict[str, Step]:
    """Return every step that is timed; a library that is not installed is left out."""
    chosen: dict[str, Callable[[], Step]] = {
        "AT": lambda: defense_step(at, FLOAT32, images, steps),
        "AT in bf16": lambda: defense_step(at, BF16, images, steps),
        "textbook": lambda: Textbook(at, images, steps),
        "textbook in bf16": lambda: Textbook(at, images, steps, "bf16"),
        "torchattacks": lambda: Torchattacks(at, images, steps),
        "ART": lambda: art_step(at, images, steps),
        "AFD": lambda: defense_step(afd, FLOAT32, images, steps),
        "AFD, attack in bf16": lambda: defense_step(afd, {"attack": "bf16", "train": "float32"}, images, steps),
        "AFD in bf16": lambda: defense_step(afd, BF16, images, steps),
        "published": lambda: partial(published_defense(afd, steps, images).step, images.x, images.y),
    }
    found = {}
    for name, make in chosen.items():
        try:
            found[name] = make()
            found[name]()
        except ModuleNotFoundError as error:
            typer.echo(f"{name}: left out, {error}", err=True)
            found.pop(name, None)
    return found


def cpu_seconds(call: Step) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(at: Recipe, afd: Recipe, images: ImageBatch, steps: int, rounds: int) -> dict[str, Any]:
    """Return the ratios of CPU seconds, each [median, lower quartile, upper quartile] over rounds."""
    calls = candidates(at, afd, images, steps)
    taken = [{name: cpu_seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    ratios = {
        f"{ours} / {theirs}": estimate_ratio([row[ours] for row in taken], [row[theirs] for row in taken])
        for ours, theirs in RATIOS
        if ours in calls and theirs in calls
    }
    return {"batch": len(images.x), "attack_steps": steps, "threads": torch.get_num_threads(), "ratios": ratios}


def main(
    at: Annotated[str, typer.Argument(metavar="AT_RECIPE", help="A recipe of AT.")] = "mnist_at",
    afd: Annotated[
        str, typer.Argument(metavar="AFD_RECIPE", help="A recipe of AFD on the same network.")
    ] = "mnist_wgan",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of both; repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, help="Images in a step.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Attack steps.")] = 10,
    rounds: Annotated[int, typer.Option(min=2, help="How often each step is measured, in turn.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Time training steps of afdctl against other libraries' on one thread."""
    torch.set_num_threads(1)
    # the attack that all of them have
    same = [f"train.batch_size={batch}", "attack.name=pgd", "attack.return_iterate=last", *(overrides or [])]
    chosen = recipe.load(at, same)
    images = make_batch(chosen, torch.device("cpu"))
    report = measure(chosen, recipe.load(afd, same), images, steps, rounds)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, (middle, low, high) in report["ratios"].items():
        typer.echo(f"{name}: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    try:
        typer.run(main)
    except AfdctlError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
