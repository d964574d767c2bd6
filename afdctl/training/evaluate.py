"""Accuracy in training: clean, under PGD and Square, on the hold-out after each epoch and on the test split at the end.

This chooses checkpoints. The numbers to report come from `afdctl sweep`, which includes AutoAttack.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from afdctl.attacks.autoattack import square, square_starts
from afdctl.attacks.base import Model
from afdctl.attacks.pgd import pgd_ce
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.loader import Split, batches
from afdctl.data.subset import Subset
from afdctl.errors import NotFoundError
from afdctl.formatting import describe_short_reach
from afdctl.journal import Journal
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import true_float32
from afdctl.recipe import Recipe
from afdctl.recipe.defenses import AdversaryConfig
from afdctl.recipe.schema import Evaluation
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training.rng import make_generator


class Accuracy(NamedTuple):
    """Shares of `n` images: classified correctly, still after PGD, and still after Square.

    PGD follows gradients only. If Square then fools many more images, the gradients are masked. `acc_square` and
    `square_queries`, the most for an image, are None if Square did not run.
    """

    acc_nat: float
    acc_adv: float
    n: int
    acc_square: float | None = None
    square_queries: int | None = None

    def row(self) -> dict[str, float]:
        """Return the fields of a journal row."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Evaluator:
    """Validates and tests the networks of one training.

    `between_batches` is called often and may raise to interrupt.
    """

    def __init__(
        self,
        *,
        run: Run,
        recipe: Recipe,
        journal: Journal,
        holdout: Split,
        test_split: Split,
        between_batches: Callable[[], None],
    ) -> None:
        self.run, self.recipe, self.journal = run, recipe, journal
        self.holdout, self.test_split = holdout, test_split
        self.between_batches = between_batches

    def validate(self, network: FeatureClassifier) -> dict[str, float]:
        """Return the accuracies on the hold-out as fields of a journal row; none without a hold-out."""
        if not len(self.holdout):
            return {}
        return self._measure(network, self.holdout, self.recipe.validation, "validation").row()

    def test(self, network: FeatureClassifier, step: int) -> None:
        """Journal the test accuracies of the last checkpoint (`network`, saved at `step`) and of the best one."""
        accuracy = self._measure(network, self.test_split, self.recipe.test, "test")
        self._log_test("last", step, step, accuracy)
        best_step = step
        try:
            best = checkpoints.load(self.run, "best")
        except NotFoundError as error:
            self.journal.append("warning", step=step, message=f"{error}; the last one is reported as the best")
        else:
            if best.step != step:
                # a copy, because a signal may save the run meanwhile
                network = deepcopy(network)
                with checkpoints.fitting(best):
                    network.load_state_dict(best.network)
                best_step = best.step
                accuracy = self._measure(network, self.test_split, self.recipe.test, "test")
        self._log_test("best", step, best_step, accuracy)
        # again beside the numbers: the start of a long training is far away
        if warning := weak_evaluation("test", self.recipe.test, self.recipe.attack):
            self.journal.append("warning", step=step, message=warning)

    def _measure(self, network: FeatureClassifier, split: Split, table: Evaluation, purpose: str) -> Accuracy:
        # a new generator each time, so that all epochs and checkpoints get the same random starts
        generator = make_generator(self.recipe.seed, purpose, split.x.device)
        return evaluate(network, split, table, self.recipe.attack, generator, self.between_batches)

    def _log_test(self, checkpoint: str, step: int, checkpoint_step: int, accuracy: Accuracy) -> None:
        attack = self.recipe.attack
        self.journal.append(
            "test",
            step=step,
            checkpoint=checkpoint,
            checkpoint_step=checkpoint_step,
            attack=f"PGD-{self.recipe.test.steps} {attack.norm} {attack.epsilon:.4g}",
            **accuracy.row(),
            subset=Subset.of(len(self.test_split), limit=self.recipe.test.limit).rule,
            split_n=len(self.test_split),
        )


def evaluate(
    network: FeatureClassifier,
    split: Split,
    table: Evaluation,
    attack: AdversaryConfig,
    generator: Generator,
    between_batches: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Attack with PGD in the recipe's ball, then with `table.square_queries` of Square the images that remain robust.

    An image is fooled if any iterate fooled the model. Attacks use a fused copy in the network's precision. Accuracies
    are taken with the network itself in float32. PGD draws from `generator`; Square has its own fixed seed.
    `between_batches` is also called between two queries of Square and may raise; the network's mode is restored anyway.
    """
    split = split.select(Subset.of(len(split), limit=table.limit).index)
    fused, was_training = FusedModel(network), network.training
    runs_square = bool(table.square_queries) and square_starts(attack.norm, *split.x.shape[2:])
    # on the device, so that no batch waits for it
    correct = torch.zeros(3, device=split.x.device)

    def interruptible(x: Tensor) -> Tensor:
        between_batches()
        logits: Tensor = fused(x)
        return logits

    network.eval()
    try:
        for x, y in batches(split, table.batch_size):
            between_batches()
            x_adv = pgd_ce(
                fused,
                x,
                y,
                norm=attack.norm,
                epsilon=attack.epsilon,
                steps=table.steps,
                step_size=table.step_size,
                return_iterate="last_success",
                generator=generator,
            )
            # the attack's own verdict is not used: it ran on the fused copy, perhaps in bfloat16
            clean = is_correct(network, x, y)
            robust = clean & is_correct(network, x_adv, y)
            robust_to_square = robust.clone()
            if runs_square and robust.any():
                x_adv = run_square(interruptible, x[robust], y[robust], attack, table.square_queries)
                robust_to_square[robust] = is_correct(network, x_adv, y[robust])
            correct += torch.stack([clean.sum(), robust.sum(), robust_to_square.sum()])
    finally:
        network.train(was_training)
    acc_nat, acc_adv, acc_square = (count / len(split) for count in correct.tolist())
    accuracy = Accuracy(acc_nat, acc_adv=acc_adv, n=len(split))
    return accuracy._replace(acc_square=acc_square, square_queries=table.square_queries) if runs_square else accuracy


def weak_evaluation(name: str, table: Evaluation, attack: AdversaryConfig) -> str | None:
    """Warn of a PGD of `validation` or `test` whose steps cannot cross the ball, as `afdctl sweep` does."""
    if table.step_size is None:
        # its default follows `steps`
        return None
    reach = table.steps * table.step_size / attack.epsilon
    # 2 from a random start, which may be opposite
    warning = describe_short_reach(f"{name}: PGD-{table.steps} at {attack.epsilon:.4g}", table.steps, reach, 2)
    return f"{warning}; its accuracies are too high ({name}.steps, {name}.step_size)" if warning else None


def is_correct(network: FeatureClassifier, x: Tensor, y: Tensor) -> Tensor:
    """Return whether each image is classified correctly, (n,) bool, in float32."""
    with torch.no_grad(), true_float32(network):
        correct: Tensor = network(x).argmax(1) == y
    return correct


def run_square(model: Model, x: Tensor, y: Tensor, attack: AdversaryConfig, queries: int) -> Tensor:
    """Return Square's x_adv (n, c, h, w) in the recipe's ball; seeded by position in the batch."""
    rng = SampleRNG(0, "square", range(len(x)))
    return square(model, x, y, epsilon=attack.epsilon, rng=rng, norm=attack.norm, queries=queries).x_adv


def selection_key(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return what ranks epochs: accuracy on the hold-out under all attacks that ran, then clean accuracy."""
    # PGD hardly ranks them: five trainings within 2.3 points of each other under PGD-40 were up to 23.9 apart under
    # AutoAttack (docs/performance.md)
    return row.get("acc_square", row["acc_adv"]), row["acc_nat"]
