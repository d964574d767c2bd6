"""Attack one batch over a task's whole grid, and verify the results on every target."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.query_counter import seed_global_rng
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.errors import RecipeError, out_of_memory
from afdctl.evaluation.epsilon_search import Results, attack_grid
from afdctl.evaluation.outputs import preserved_state
from afdctl.evaluation.plan import Task
from afdctl.evaluation.verify import Verification, predict, verify
from afdctl.formatting import one_line_error
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import MixedPrecision
from afdctl.runs.shards import Arrays
from afdctl.suites.attack_config import AttackConfig


class PreparedModel:
    """A network as attacks call it: BatchNorm folded where it is ours, logits in float32.

    `check` is called before each pass, and may raise. In bf16 the encoder of our networks, and the whole of a custom
    model, computes in it.
    """

    # for an attack that distils the network
    substitute: nn.Module | None = None

    def __init__(self, network: nn.Module, check: Callable[[], None], precision: str = "float32") -> None:
        self.network, self._check = network, check
        ours = isinstance(network, FeatureClassifier)
        self._model: Model = FusedModel(network, precision) if ours else MixedPrecision(network, precision=precision)

    def __call__(self, x: Tensor) -> Tensor:
        self._check()
        # a model may compute in another precision; attacks sum in that of x
        logits: Tensor = self._model(x).float()
        # attacks handle a zero gradient, but autograd fails where a model detaches its outputs
        detached = x.requires_grad and not logits.requires_grad and torch.is_grad_enabled()
        return logits + 0 * x.flatten(1).sum(1, keepdim=True) if detached else logits


def check_precision(network: nn.Module, x: Tensor, precision: str) -> None:
    """Feed images x (n, c, h, w) as a search would; RecipeError where the model computes in float32 only."""
    try:
        with preserved_state(network, x.device), torch.no_grad():
            MixedPrecision(network, precision=precision)(x)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise RecipeError(
            f"--precision {precision}: the model cannot compute in it: {one_line_error(error)}"
        ) from error


def attack_batch(
    task: Task,
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    index: Tensor,
    keep_images: bool,
    float32_model: Model | None = None,
) -> list[Arrays]:
    """Attack images x (n, c, h, w) with labels y (n,); return the columns (n, ...) for each target.

    `index` (n,) has their numbers in the test split, which decide their random draws.

    Columns are `index`, `label`, `clean`, and for each epsilon `<epsilon>/prediction`, `norm` (of x' - x), `distance`
    (the same where x' fools, 0 where x is misclassified, inf where the sample is robust), `first_success`, `forwards`,
    `backwards`, `part`, `fault` of a user's attack, and with `keep_images` `x_adv`. `float32_model` is given where
    `model` computes in bf16.
    """
    # a random model then draws the same numbers each time
    is_random = task.spec.evaluations > 1
    seed = SampleRNG(task.seed, f"{task.spec.name} from {int(index[0])}", []).seed
    with seed_global_rng(seed, x.device) if is_random else nullcontext():
        return _attack_batch(task, model, x, y, index=index, keep_images=keep_images, float32_model=float32_model)


def _attack_batch(
    task: Task, model: Model, x: Tensor, y: Tensor, *, index: Tensor, keep_images: bool, float32_model: Model | None
) -> list[Arrays]:
    # a white-box attack skips misclassified samples; a transfer's target may get right what its source does not
    attacked = (
        torch.ones_like(y, dtype=torch.bool)
        if task.transfers
        else predict(task.source.network, x, task.spec.evaluations) == y
    )
    numbers = index[attacked].tolist()
    results = search(task.spec, model, x[attacked], y[attacked], seed=task.seed, numbers=numbers)
    if float32_model is not None:
        recheck_in_float32(task, float32_model, x[attacked], y[attacked], results=results, numbers=numbers)
    results = scatter_to_batch(attacked, x, results)
    numbered = {"index": _to_numpy(index)}
    return [
        numbered | verify_batch(task, target.network, x, y, results, keep_images=keep_images) for target in task.targets
    ]


def search(spec: AttackConfig, model: Model, x: Tensor, y: Tensor, *, seed: int, numbers: list[int]) -> Results:
    """Attack samples at each epsilon; `numbers`, those of the samples in the test split, decide their random draws."""
    # by name, not by label, so that an attack that a suite renames gives the same result
    return attack_grid(spec, model, x, y, rng=lambda epsilon: SampleRNG(seed, f"{spec.name}@{epsilon:g}", numbers))


def recheck_in_float32(
    task: Task, float32_model: Model, x: Tensor, y: Tensor, *, results: Results, numbers: list[int]
) -> None:
    """Attack again, in float32, the samples of which the source does not confirm every success in float32.

    An unconfirmed success would otherwise spare its sample the attacks that follow.
    """
    refuted = torch.zeros_like(y, dtype=torch.bool)
    for epsilon, result in results.items():
        verification = verify(
            task.source.network,
            x,
            y,
            result.x_adv,
            clean=y,
            claimed=result.fooled,
            epsilon=epsilon,
            norm=task.spec.norm,
            evaluations=task.spec.evaluations,
        )
        refuted |= result.fooled & verification.robust
    if refuted.any():
        refuted_numbers = [number for number, again in zip(numbers, refuted.tolist(), strict=True) if again]
        new_results = search(task.spec, float32_model, x[refuted], y[refuted], seed=task.seed, numbers=refuted_numbers)
        for epsilon, result in new_results.items():
            results[epsilon].update(refuted, result)


def scatter_to_batch(attacked: Tensor, x: Tensor, results: Results) -> Results:
    """Place the results of the attacked samples (mask (n,)) in results of the whole batch."""
    batch_results = {}
    for epsilon, result in results.items():
        batch_results[epsilon] = AttackResult.empty(x)
        batch_results[epsilon].update(attacked, result)
    return batch_results


def verify_batch(
    task: Task, network: nn.Module, x: Tensor, y: Tensor, results: Results, *, keep_images: bool
) -> Arrays:
    """Verify results on one target and return their columns."""
    spec = task.spec
    clean = predict(network, x, spec.evaluations)
    columns: dict[str, Tensor] = {"label": y, "clean": clean}
    for epsilon, result in results.items():
        verification = verify(
            network,
            x,
            y,
            result.x_adv,
            clean=clean,
            claimed=result.fooled,
            epsilon=epsilon,
            norm=spec.norm,
            evaluations=spec.evaluations,
        )
        own = {"fault": result.fault} if spec.user_attack else {}
        for name, column in (_result_columns(verification, result, clean == y) | own).items():
            columns[f"{epsilon:g}/{name}"] = column
        if keep_images:
            columns[f"{epsilon:g}/x_adv"] = verification.x_adv
    return {name: _to_numpy(column) for name, column in columns.items()}


def _result_columns(verification: Verification, result: AttackResult, correct: Tensor) -> dict[str, Tensor]:
    return {
        "prediction": verification.prediction,
        "norm": verification.norm,
        "distance": verification.distance(correct),
        "first_success": result.first_success_step,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "part": result.part,
    }


def _to_numpy(column: Tensor) -> np.ndarray[Any, Any]:
    """Copy a column to the host, integers in 32 bits."""
    array: np.ndarray[Any, Any] = column.cpu().numpy()
    return array.astype(np.int32) if array.dtype == np.int64 else array
