"""Accuracy in training: on the hold-out after an epoch, and on the test split at the end.

This chooses checkpoints. The numbers to report come from `afdctl sweep`, which includes AutoAttack.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor

from afdctl import allreduce
from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.cascade import cascade
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.loader import Split, batches
from afdctl.data.subset import Subset
from afdctl.errors import NotFoundError
from afdctl.journal import Journal
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import true_float32
from afdctl.recipe import Recipe
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training.distributed import ALONE, Processes
from afdctl.training.evaluation_parts import Part, evaluation_parts, validation_parts, weak_test
from afdctl.training.rng import seed_layers


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
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.run, self.recipe, self.journal = run, recipe, journal
        self.holdout, self.test_split = holdout, test_split
        self.between_batches = between_batches

    def validate(self, network: FeatureClassifier) -> dict[str, float]:
        """Return the accuracies on the hold-out as fields of a journal row; none without a hold-out."""
        if not len(self.holdout):
            return {}
        table, split = self.recipe.validation, self.holdout.head(self.recipe.validation.limit)
        parts = {norm: validation_parts(self.recipe, norm) for norm in self.recipe.attack.balls}
        (clean, after_apgd, *after_others), by_norm = self._measure(
            network, split, parts, table.batch_size, "validation"
        )
        # the last of the probe's attacks leaves what all of them leave
        probe = {"acc_apgd_t": after_others[0], "acc_probe": after_others[-1]} if after_others else {}
        margin = {"logit_margin": median_margin(network, split, table.batch_size)}
        return {"acc_nat": clean, "acc_adv": after_apgd, **probe, **by_norm, **margin, "n": len(split)}

    def test(self, network: FeatureClassifier, step: int) -> None:
        """Journal the test accuracies of the last checkpoint (`network`, saved at `step`) and of the best one."""
        accuracies = self._measure_test(network)
        self._log_test("last", step, step, accuracies)
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
                accuracies = self._measure_test(network)
        self._log_test("best", step, best_step, accuracies)
        # again beside the numbers: the start of a long training is far away
        if warning := weak_test(self.recipe.test, self.recipe.attack):
            self.journal.append("warning", step=step, message=warning)

    def _measure_test(self, network: FeatureClassifier) -> dict[str, Any]:
        table = self.recipe.test
        subset = Subset.of(len(self.test_split), limit=table.limit)
        split = self.test_split.select(subset.index)
        parts = {norm: evaluation_parts(self.recipe, norm, split.x.shape[2:]) for norm in self.recipe.attack.balls}
        accuracies, by_norm = self._measure(network, split, parts, table.batch_size, "test")
        # without Square there are only the first two
        queries = {"square_queries": table.square_queries} if len(accuracies) > 2 else {}
        named = dict(zip(("acc_nat", "acc_adv", "acc_square"), accuracies, strict=False))
        return {**named, **queries, **by_norm, "subset": subset.rule, "n": subset.n}

    def _measure(
        self,
        network: FeatureClassifier,
        split: Split,
        parts: Mapping[str, Sequence[Part]],
        batch_size: int,
        purpose: str,
    ) -> tuple[list[float], dict[str, float]]:
        """Return the accuracies of x and after each of the parts in all norms; in a union also those of each norm."""
        # a random network then draws the same when an interrupted validation or test begins again
        seed_layers(self.recipe.seed, purpose, self.processes.rank)
        correct = [
            correct_after(
                network,
                split,
                of_norm,
                batch_size=batch_size,
                # the same for all epochs and checkpoints, so that they get the same random starts
                seed=self.recipe.seed,
                purpose=purpose,
                between_passes=self.between_batches,
                processes=self.processes,
            )
            for of_norm in parts.values()
        ]
        rows = range(max(map(len, correct)))
        # Square cannot start in every norm; there the part before it is the last
        union = [torch.stack([masks[min(row, len(masks) - 1)] for masks in correct]).all(0) for row in rows]
        by_norm = {f"acc_{norm}": _share(masks[-1]) for norm, masks in zip(parts, correct, strict=True)}
        return [_share(mask) for mask in union], by_norm if len(parts) > 1 else {}

    def _log_test(self, checkpoint: str, step: int, checkpoint_step: int, accuracies: Mapping[str, Any]) -> None:
        attack = self.recipe.attack
        self.journal.append(
            "test",
            step=step,
            checkpoint=checkpoint,
            checkpoint_step=checkpoint_step,
            attack=" + ".join(
                f"{'APGD' if norm == 'l1' else 'PGD'}-{self.recipe.test.steps} {norm} {epsilon:.4g}"
                for norm, epsilon in attack.balls.items()
            ),
            **accuracies,
            split_n=len(self.test_split),
        )


def evaluate(network: FeatureClassifier, split: Split, parts: Sequence[Part], **options: Any) -> list[float]:
    """Return the share of images classified correctly, then that share after each of `parts`; see `correct_after`."""
    return [_share(mask) for mask in correct_after(network, split, parts, **options)]


def _share(mask: Tensor) -> float:
    return int(mask.sum()) / len(mask)


def correct_after(
    network: FeatureClassifier,
    split: Split,
    parts: Sequence[Part],
    *,
    batch_size: int = 256,
    seed: int = 0,
    purpose: str = "test",
    between_passes: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
) -> list[Tensor]:
    """Return which images (n,) are classified correctly, then which still are after each of `parts`.

    Each part attacks only the images that no part before it fooled. Attacks use a fused copy in the network's precision
    and draw their random numbers from `seed` and `purpose`. Success counts where the network itself confirms it in
    float32. `between_passes` is called before every pass and may raise; the network's mode is restored anyway.

    Several processes share the batches. They call `between_passes` together, before each takes its next batch.
    """
    fused, was_training = FusedModel(network), network.training
    batch_size = min(batch_size, ceil(len(split) / processes.size))
    # on the device, so that no batch waits for it
    correct = torch.zeros((1 + len(parts), len(split)), dtype=torch.uint8, device=split.x.device)

    def interruptible(x: Tensor) -> Tensor:
        if processes.size == 1:
            between_passes()
        logits: Tensor = fused(x)
        return logits

    network.eval()
    try:
        for number, (x, y) in enumerate(batches(split, batch_size)):
            turn = number % processes.size
            if processes.size > 1 and turn == 0:
                between_passes()
            if turn != processes.rank:
                continue
            first = number * batch_size
            rng = SampleRNG(seed, purpose, range(first, first + len(x)))
            result = attack_in_turn(interruptible, x, y, parts, rng)
            # the attack's own verdict is not used: it ran on the fused copy, perhaps in bfloat16
            clean = is_correct(network, x, y)
            robust = is_correct(network, result.x_adv, y)
            # x' is x where no part fooled it: a random network's second answer on x is no success
            fooled_by = torch.where(robust | ~result.fooled, len(parts), result.part)
            masks = torch.stack([clean & (fooled_by >= count) for count in range(1 + len(parts))])
            correct[:, first : first + len(x)] = masks
    finally:
        network.train(was_training)
    return list(allreduce.total(correct).bool())


def attack_in_turn(model: Model, x: Tensor, y: Tensor, parts: Sequence[Part], rng: SampleRNG) -> AttackResult:
    """Return the worst case of `parts` on x (n, c, h, w); `part` in it says which one fooled the model."""

    def run(part: Part, rows: Tensor) -> AttackResult:
        return part(model, x[rows], y[rows], rng=rng.select(rows))

    return cascade(x, [partial(run, part) for part in parts])


def is_correct(network: FeatureClassifier, x: Tensor, y: Tensor) -> Tensor:
    """Return whether each image is classified correctly, (n,) bool, in float32."""
    with torch.no_grad(), true_float32(network):
        correct: Tensor = network(x).argmax(1) == y
    return correct


def median_margin(network: FeatureClassifier, split: Split, batch_size: int) -> float:
    """Return the median over the images of the difference between the two largest logits, in float32."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), true_float32(network):
            largest = torch.cat([network(x).topk(2).values for x, _ in batches(split, batch_size)])
    finally:
        network.train(was_training)
    return float((largest[:, 0] - largest[:, 1]).median())


def selection_key(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Return what ranks epochs: accuracy on the hold-out under all attacks that ran, then clean accuracy.

    Empty for an epoch without a validation, which ranks below all others.
    """
    # PGD hardly ranks them: five trainings within 2.3 points of each other under PGD-40 were up to 23.9 apart under
    # AutoAttack (docs/performance.md)
    return (row.get("acc_probe", row["acc_adv"]), row["acc_nat"]) if "acc_adv" in row else ()
