"""One batch under one task: attacked over the whole grid, judged by every target."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult, Model
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.evaluation.epsilon_search import attack_grid
from afdctl.evaluation.plan import Task
from afdctl.evaluation.verify import Verification, predict, verify
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import MixedPrecision
from afdctl.runs.shards import Arrays
from afdctl.suites.attack_config import AttackConfig


def prepare_model(network: nn.Module, check: Callable[[], None], precision: str = "float32") -> Model:
    """The network as attacks see it: BatchNorm folded where it is ours; `check` is called first, and may raise.

    In bf16 the encoder of a network of ours computes in it, and the whole of any other model; logits are float32.
    """
    ours = isinstance(network, FeatureClassifier)
    model: Model = FusedModel(network, precision) if ours else MixedPrecision(network, precision=precision)

    def search(x: Tensor) -> Tensor:
        check()
        # a model may compute in another precision; attacks add up in that of x
        logits: Tensor = model(x).float()
        # a model that cuts the graph has slope 0, which every attack knows how to live with
        cut = x.requires_grad and not logits.requires_grad and torch.is_grad_enabled()
        return logits + 0 * x.flatten(1).sum(1, keepdim=True) if cut else logits

    return search


def attack_batch(
    task: Task, model: Model, x: Tensor, y: Tensor, first: int, keep_images: bool, exact: Model | None = None
) -> list[Arrays]:
    """The rows of samples `first` and after, for each target: `label`, `clean`, and for each epsilon `<epsilon>/...`.

    `prediction`, `norm` (of x' - x), `distance` (the same where x' fools, 0 where x is misclassified, inf where the
    sample is robust), `first_success`, `forwards`, `backwards`, `part`, and with `keep_images` `x_adv`. Where `model`
    computes in less than float32, `exact` is the one that does not.
    """
    # a white-box attack leaves alone what is misclassified anyway; a target may know what its source does not
    attacked = torch.ones_like(y, dtype=torch.bool) if task.transfers else predict(task.source.network, x) == y
    found = search(task.spec, task.seed, model, x[attacked], y[attacked], attacked, first)
    if exact is not None:
        recheck_in_float32(task, exact, x[attacked], y[attacked], found, attacked, first)
    found = scatter_to_batch(attacked, x, found)
    return [verify_batch(task, target.network, x, y, found, keep_images) for target in task.targets]


def search(
    spec: AttackConfig, seed: int, model: Model, x: Tensor, y: Tensor, attacked: Tensor, first: int
) -> dict[float, AttackResult]:
    """What the attack finds at each epsilon; the sample's number in its split decides its random draws."""
    index = (first + attacked.nonzero().flatten()).tolist()
    return attack_grid(spec, model, x, y, lambda epsilon: SampleRNG(seed, f"{spec.name}@{epsilon:g}", index))


def recheck_in_float32(
    task: Task, exact: Model, x: Tensor, y: Tensor, found: dict[float, AttackResult], attacked: Tensor, first: int
) -> None:
    """Attack those samples anew, in float32, of which the source does not confirm every success in float32.

    A success that is none would else spare its sample the attacks that come after it.
    """
    refuted = torch.zeros_like(y, dtype=torch.bool)
    for epsilon, finding in found.items():
        verdict = verify(task.source.network, x, y, y, finding.x_adv, finding.fooled, epsilon, task.spec.norm)
        refuted |= finding.fooled & verdict.robust
    if refuted.any():
        rows = attacked.clone()
        rows[attacked] = refuted
        for epsilon, finding in search(task.spec, task.seed, exact, x[refuted], y[refuted], rows, first).items():
            found[epsilon].update(refuted, finding)


def scatter_to_batch(attacked: Tensor, x: Tensor, found: dict[float, AttackResult]) -> dict[float, AttackResult]:
    """Findings of the attacked samples as rows of the whole batch."""
    spread = {}
    for epsilon, rows in found.items():
        spread[epsilon] = AttackResult.empty(x)
        spread[epsilon].update(attacked, rows)
    return spread


def verify_batch(
    task: Task, network: nn.Module, x: Tensor, y: Tensor, found: dict[float, AttackResult], keep_images: bool
) -> Arrays:
    clean = predict(network, x)
    rows: dict[str, Tensor] = {"label": y, "clean": clean}
    for epsilon, finding in found.items():
        verdict = verify(network, x, y, clean, finding.x_adv, finding.fooled, epsilon, task.spec.norm)
        rows |= {f"{epsilon:g}/{name}": column for name, column in columns(verdict, finding, clean == y).items()}
        if keep_images:
            rows[f"{epsilon:g}/x_adv"] = verdict.x_adv
    return {name: compact(column) for name, column in rows.items()}


def columns(verdict: Verification, finding: AttackResult, right: Tensor) -> dict[str, Tensor]:
    distance = torch.where(verdict.robust, torch.inf, torch.where(right, verdict.norm, 0.0))
    return {
        "prediction": verdict.prediction,
        "norm": verdict.norm,
        "distance": distance,
        "first_success": finding.first_success_step,
        "forwards": finding.forwards,
        "backwards": finding.backwards,
        "part": finding.part,
    }


def compact(column: Tensor) -> np.ndarray[Any, Any]:
    """The column on the host, whole numbers in 32 bits."""
    array: np.ndarray[Any, Any] = column.cpu().numpy()
    return array.astype(np.int32) if array.dtype == np.int64 else array
