"""Accuracy of a network on a split: clean, under PGD, and where a recipe asks for it under Square as well."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from afdctl.attacks.autoattack import square, square_starts
from afdctl.attacks.base import Model
from afdctl.attacks.pgd import pgd_ce
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.loader import Split, batches
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import in_float32
from afdctl.recipe.schema import Attack, Evaluation


class Accuracy(NamedTuple):
    """Shares of `n` images that are classified rightly, still are after PGD, and still are after Square; None: not run.

    PGD sees no further than its gradients: where Square then takes many more images, they are masked.
    """

    acc_nat: float
    acc_adv: float
    n: int
    acc_square: float | None = None

    def row(self) -> dict[str, float]:
        """The figures that there are, for the journal."""
        return {name: figure for name, figure in self._asdict().items() if figure is not None}


def evaluate(
    network: FeatureClassifier,
    split: Split,
    table: Evaluation,
    attack: Attack,
    generator: Generator,
    between_batches: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Attack with PGD within the recipe's ball, and who still stands with `table.queries` of Square.

    An image counts as fooled if any iterate fooled the model. The attacks run on a folded twin, in the network's
    precision; all accuracies are then taken with the network itself, in evaluation mode and in float32. `generator` is
    PGD's; Square is seeded alike for each batch, and its starts go to those who stand, in their order.
    `between_batches`, which Square also calls between two queries, may raise to give up; the network's mode is restored
    in any case.
    """
    split = split.head(table.limit)
    twin, training = FusedModel(network), network.training
    searches = bool(table.queries) and square_starts(attack.norm, *split.x.shape[2:])
    right = torch.zeros(3, device=split.x.device)

    def interruptible(x: Tensor) -> Tensor:
        between_batches()
        logits: Tensor = twin(x)
        return logits

    network.eval()
    try:
        for x, y in batches(split, table.batch_size):
            between_batches()
            x_adv = pgd_ce(
                twin,
                x,
                y,
                norm=attack.norm,
                epsilon=attack.epsilon,
                steps=table.steps,
                step_size=table.step_size,
                return_iterate="last_success",
                generator=generator,
            )
            clean = correct(network, x, y)
            standing = clean & correct(network, x_adv, y)
            searched = standing.clone()
            if searches and standing.any():
                x_adv = search(interruptible, x[standing], y[standing], attack, table.queries)
                searched[standing] = correct(network, x_adv, y[standing])
            right += torch.stack([clean.sum(), standing.sum(), searched.sum()])
    finally:
        network.train(training)
    acc_nat, acc_adv, acc_square = (count / len(split) for count in right.tolist())
    return Accuracy(acc_nat, acc_adv, len(split), acc_square if searches else None)


def correct(network: FeatureClassifier, x: Tensor, y: Tensor) -> Tensor:
    """Whether each image is classified rightly (n,) bool, in float32."""
    with torch.no_grad(), in_float32(network):
        right: Tensor = network(x).argmax(1) == y
    return right


def search(model: Model, x: Tensor, y: Tensor, attack: Attack, queries: int) -> Tensor:
    """Square's x' (n, c, h, w) in the recipe's ball."""
    draws = SampleRNG(0, "square", range(len(x)))
    return square(model, x, y, epsilon=attack.epsilon, rng=draws, norm=attack.norm, queries=queries).x_adv
