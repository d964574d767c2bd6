"""Time the AFD step against one in the published code's order of operations.

Written from a description of that code's behaviour; no line of it was used.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Generator, Tensor, nn

from afdctl import metrics, recipe
from afdctl.bench.step_time import defense_table, estimate_ratio, interleave, make_batch
from afdctl.defenses.afd import AFD
from afdctl.defenses.base import Report
from afdctl.errors import AfdctlError
from afdctl.losses import L_C, gradient_penalty
from afdctl.recipe import Recipe
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.runs.provenance import with_precisions
from afdctl.training.adversary import Adversary
from afdctl.training.cost_estimate import (
    FLOAT32,
    ImageBatch,
    attack_for,
    build_defense,
    build_network,
    with_train_settings,
)
from afdctl.training.precision_choice import with_found_precisions
from afdctl.training.setup import choose_device


class UnfusedAdversary(Adversary):
    """The same adversary on the network itself, in evaluation mode with frozen parameters."""

    def __init__(self, network: nn.Module, attack: AdversaryConfig, generator: Generator) -> None:
        super().__init__(network, attack, generator)
        self.network = network

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.network.eval().requires_grad_(False)
        x_adv = self.attack(self.network, x, y)
        self.network.train().requires_grad_(True)
        return x_adv


class PublishedStep(AFD):
    """AFD with seven encoder passes in training mode for the Wasserstein game, five for the others.

    Features are computed again for each loss, L_D is differentiated through the encoder too, and the gradient penalty
    computes its own features, even at weight 0.
    """

    def step(self, x: Tensor, y: Tensor) -> Report:
        x_adv = self.adversary(x, y)
        loss_C = L_C(self.network(x), y)
        self.optimizers["C"].zero_grad()
        torch.autograd.backward(loss_C)
        self.optimizers["C"].step()

        loss_D = self.game.L_D(self.D_psi(self.F_theta(x), y), self.D_psi(self.F_theta(x_adv), y))
        if self.table.game == "wgan":
            share = torch.rand((len(x), 1), generator=self.noise, device=x.device)
            z, z_adv = self.F_theta(x), self.F_theta(x_adv)
            loss_D = loss_D + self.table.gp_weight * gradient_penalty(lambda z: self.D_psi(z, None), z, z_adv, share)
        self.optimizers["D"].zero_grad()
        torch.autograd.backward(loss_D)
        self.optimizers["D"].step()

        with torch.no_grad():
            metrics.accuracy(self.network(x_adv), y)

        self.optimizers["F"].zero_grad()
        loss_F = self.game.L_F(self.D_psi(self.F_theta(x_adv), y))
        torch.autograd.backward(loss_F)
        self.optimizers["F"].step()
        return {"L_C": loss_C.detach(), "L_D": loss_D.detach(), "L_F": loss_F.detach()}


def published_defense(recipe: Recipe, attack_steps: int, images: ImageBatch) -> PublishedStep:
    """Build the published step on a new network of the recipe, eager and in float32 as that code runs."""
    recipe = with_precisions(with_train_settings(recipe, compile=False), FLOAT32)
    network = build_network(recipe, images)
    noise = Generator(images.x.device).manual_seed(0)
    adversary = UnfusedAdversary(network, attack_for(recipe.attack, "afd", attack_steps), noise)
    return PublishedStep(defense_table(recipe, "afd"), network, adversary, images.classes, noise)


def measure(recipe: Recipe, attack_steps: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Return the seconds of both steps, and their ratio as [median, lower quartile, upper quartile]."""
    images = make_batch(recipe, device)
    recipe = with_found_precisions(recipe, images)
    afd = build_defense(recipe, defense_table(recipe, "afd"), attack_steps, images)
    steps: dict[str, Callable[[], object]] = {
        "afd": partial(afd.step, images.x, images.y),
        "published": partial(published_defense(recipe, attack_steps, images).step, images.x, images.y),
    }
    seconds = interleave(steps, rounds, device)
    return {
        "schema": "afdctl/1",
        "attack_steps": attack_steps,
        "batch_size": recipe.train.batch_size,
        "threads": torch.get_num_threads(),
        **{f"{name}_seconds": median(times) for name, times in seconds.items()},
        "afd_over_published": estimate_ratio(seconds["afd"], seconds["published"]),
    }


def main(
    recipe_name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's path or name.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Repeatable.")] = None,
    attack_steps: Annotated[int | None, typer.Option(min=1, help="By default the recipe's.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="How often each step is measured, in turn.")] = 9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a line.")] = False,
) -> None:
    """Time the AFD step against one in the published code's order of operations."""
    chosen = recipe.load(recipe_name, overrides or [])
    report = measure(chosen, attack_steps or chosen.attack.steps, rounds, choose_device(device))
    if as_json:
        typer.echo(json.dumps(report))
        return
    middle, low, high = report["afd_over_published"]
    typer.echo(
        f"AFD {1000 * report['afd_seconds']:.1f} ms, published {1000 * report['published_seconds']:.1f} ms, "
        f"ratio {middle:.3f} ({low:.3f} to {high:.3f}); {report['attack_steps']} attack steps, "
        f"batch {report['batch_size']}, threads: {report['threads']}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except AfdctlError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
