"""Clean and PGD accuracy of a network on a split."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator

from afdctl.attacks.pgd import pgd_ce
from afdctl.data.batches import Split, batches
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.folding import FoldedTwin
from afdctl.models.precision import exact
from afdctl.recipe.schema import Attack, Evaluation


class Accuracy(NamedTuple):
    """Shares of `n` images that are classified rightly, and that still are after the attack."""

    acc_nat: float
    acc_adv: float
    n: int


def evaluate(
    network: FeatureClassifier,
    split: Split,
    table: Evaluation,
    attack: Attack,
    generator: Generator,
    between_batches: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Attack with PGD within the recipe's ball; an image counts as fooled if any iterate fooled the model.

    The attack runs on a folded twin, in the network's precision; both accuracies are then taken with the network
    itself, in evaluation mode and in float32.
    `between_batches` may raise to give up; the network's mode is restored in any case.
    """
    split = split.head(table.limit)
    twin, training = FoldedTwin(network), network.training
    right = torch.zeros(2, device=split.x.device)
    network.eval()
    try:
        for x, y in batches(split, table.batch_size):
            between_batches()
            x_adv = pgd_ce(
                twin, x, y, norm=attack.norm, epsilon=attack.epsilon, steps=table.steps, step_size=table.step_size,
                keep="success_only", generator=generator,
            )  # fmt: skip
            with torch.no_grad(), exact(network):
                clean = network(x).argmax(1) == y
                right += torch.stack([clean.sum(), (clean & (network(x_adv).argmax(1) == y)).sum()])
    finally:
        network.train(training)
    acc_nat, acc_adv = (count / len(split) for count in right.tolist())
    return Accuracy(acc_nat, acc_adv, len(split))
