"""Extract the features of images and of attacked images: what the classifier C_phi receives."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.data.loader import as_floats
from afdctl.errors import RecipeError
from afdctl.evaluation.batch import PreparedModel, search
from afdctl.evaluation.batches import Attacked, Batch, Check
from afdctl.evaluation.faults import check_counts, count_faults
from afdctl.evaluation.plan import Task
from afdctl.evaluation.verify import predict, verify
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.runs.shards import Array, Arrays

# Maps images (n, c, h, w) to z, length and logits, without gradients
Extract = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Features:
    """Features of n images in float32.

    z (n, m) is F(x), `length` (n,) its L2 norm before normalisation, logits (n, k).
    """

    z: Array
    length: Array
    logits: Array

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        return cls(z=arrays["z"], length=arrays["length"], logits=arrays["logits"])

    @classmethod
    def from_batches(cls, batches: list[tuple[Tensor, Tensor, Tensor]]) -> Self:
        """Join the extracted features of several batches on the host."""
        z, length, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True))
        return cls(z=z, length=length, logits=logits)

    def arrays(self) -> Arrays:
        return {"z": self.z, "length": self.length, "logits": self.logits}

    def error_rate(self, label: Array) -> float:
        """Compute the share of images not classified as `label` (n,); a NaN or infinite logit is an error."""
        correct = (self.logits.argmax(1) == label) & np.isfinite(self.logits).all(1)
        return float(1 - correct.mean())


def make_extractor(network: nn.Module) -> Extract:
    """Return the function that extracts features; those of a custom model are the input of its last linear layer.

    Error: RecipeError for a model without such a layer.
    """
    if isinstance(network, FeatureClassifier):
        return _encoder_extractor(network)
    return _custom_model_extractor(network)


def _encoder_extractor(network: FeatureClassifier) -> Extract:
    encoder, norm = network.F_theta

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = encoder(x)
        z = norm(h)
        return z.float(), h.float().norm(dim=1), network.C_phi(z).float()

    return extract


def _custom_model_extractor(network: nn.Module) -> Extract:
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise RecipeError("the model has no linear layer (nn.Linear), before which its features could be taken")

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layer_inputs: list[Tensor] = []
        hook = linear[-1].register_forward_pre_hook(lambda _, inputs: layer_inputs.append(inputs[0].detach()))
        try:
            logits = network(x)
        finally:
            hook.remove()
        if not layer_inputs:
            raise RecipeError("the model does not use its last linear layer, before which its features would be taken")
        # a model may apply the layer several times: the last use makes the logits
        z = layer_inputs[-1].flatten(1).float()
        return z, z.norm(dim=1), logits.float()

    return extract


class AttackAndExtract:
    """Attacks batches in this process, misclassified images too, and returns the features of the results."""

    def __init__(self) -> None:
        self._task: Task | None = None

    def attack(self, batches: Iterator[Batch], check: Check) -> Attacked:
        """Attack the first batch, and leave the others; a block for each epsilon of the task."""
        batch, started = next(batches), time.monotonic()
        self._check, task = check, batch.task
        if task is not self._task:
            self._model = PreparedModel(task.source.network, lambda: self._check(0))
            self._extract = make_extractor(task.source.network)
            self._task = task
        split = task.source.split
        index = task.subset.index[batch.first : batch.first + batch.size].to(split.x.device)
        x, y = as_floats(split.x[index]), split.y[index]
        clean = predict(task.source.network, x)
        results = search(task.spec, self._model, x, y, seed=task.seed, numbers=index.tolist())
        blocks = []
        for epsilon, result in results.items():
            faults = count_faults(result.fault, result.forwards)
            check_counts(task.spec, faults, epsilon, correct=int((clean == y).sum()))
            verification = verify(
                task.source.network,
                x,
                y,
                result.x_adv,
                clean=clean,
                claimed=result.fooled,
                epsilon=epsilon,
                norm=task.spec.norm,
            )
            # the verified x', inside its ball: a larger perturbation would pass for a larger divergence
            blocks.append(Features.from_batches([self._extract(verification.x_adv)]).arrays())
        return Attacked(blocks, time.monotonic() - started)
