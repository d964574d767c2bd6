"""Extract the features of images, and keep them in the run: what the classifier C_phi receives."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.data.loader import as_floats
from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation.batch import PreparedModel, search
from afdctl.evaluation.faults import check_counts, count_faults
from afdctl.evaluation.plan import Task, make_key
from afdctl.evaluation.target import EvaluationTarget
from afdctl.evaluation.verify import predict, verify
from afdctl.journal import Journal, JournalCache
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.runs import shards
from afdctl.runs.shards import Array, Arrays

# part of every key of features: raise it when features change, so that old ones are computed again
VERSION = 2

# Maps images (n, c, h, w) to z, length and logits, without gradients
Extract = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
# Receives the task and the number of its images that were attacked since the last call
OnImages = Callable[[Task, int], None]


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


class FeatureCache:
    """The features that a run keeps of a network's test images, those of `subset`.

    `check` is called before each pass of an attack, and may raise.
    """

    def __init__(self, target: EvaluationTarget, subset: Subset, batch_size: int, check: Callable[[], None]) -> None:
        self.target, self.subset, self.batch_size, self.check = target, subset, batch_size, check
        self.extract = make_extractor(target.network)
        self.reader = JournalCache.of(target.run.journal_path)
        # shards of the run's intact features, by key
        self.shards: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read which features the run has."""
        shard_names = {row["key"]: row["shard"] for row in self.reader.of_event("features")}
        self.shards = {key: name for key, name in shard_names.items() if shards.intact(self.target.run, name)}

    def missing(self, tasks: Iterable[Task]) -> list[Task]:
        """Return what is missing of some attacks, in pieces that are stored as soon as they are done.

        A piece is one epsilon; of a minimum-norm attack it is the whole grid, which one search serves.
        """
        pieces = []
        for task in tasks:
            grids = [task.epsilons] if task.spec.minimises else [(epsilon,) for epsilon in task.epsilons]
            incomplete = [grid for grid in grids if any(self.key(task, epsilon) not in self.shards for epsilon in grid)]
            pieces += [task.with_epsilons(grid) for grid in incomplete]
        return pieces

    def key(self, task: Task, epsilon: float) -> str:
        return make_key(["attacked", VERSION, task.key(self.target, epsilon)])

    @property
    def natural_key(self) -> str:
        return make_key(["natural", VERSION, self.target.digest, self.target.data_digest, *self.subset.key])

    def keys(self, tasks: Iterable[Task]) -> list[str]:
        """Return the keys of the natural images' features, and of those under attacks."""
        return [self.natural_key, *(self.key(task, epsilon) for task in tasks for epsilon in task.epsilons)]

    def natural(self, journal: Journal) -> tuple[Features, Array]:
        """Return the features of the natural images, computed where they are missing, and their labels (n,)."""
        if self.natural_key not in self.shards:
            features = Features.from_batches([self.extract(x) for _, x, _ in self._batches()])
            label = torch.cat([y for _, _, y in self._batches()]).cpu().numpy()
            arrays = features.arrays() | {"index": self.subset.index.numpy().astype(np.int32), "label": label}
            self._store("natural", self.natural_key, arrays, journal, attack=None, norm=None, epsilon=0.0, seed=None)
        arrays = shards.read(self.target.run, self.shards[self.natural_key])
        return Features.from_arrays(arrays), arrays["label"]

    def adversarial(self, task: Task, epsilon: float) -> Features:
        """Read the features under an attack, which must have been added."""
        return Features.from_arrays(shards.read(self.target.run, self.shards[self.key(task, epsilon)]))

    def add(self, task: Task, journal: Journal, on_images: OnImages) -> None:
        """Attack all images, misclassified ones too, and store the features of the results."""
        started = time.monotonic()
        network = self.target.network
        model = PreparedModel(network, self.check)
        features: dict[float, list[tuple[Tensor, Tensor, Tensor]]] = {epsilon: [] for epsilon in task.epsilons}
        for index, x, y in self._batches():
            clean = predict(network, x)
            results = search(task.spec, model, x, y, seed=task.seed, numbers=index.tolist())
            for epsilon, result in results.items():
                faults = count_faults(result.fault, result.forwards)
                check_counts(task.spec, faults, epsilon, correct=int((clean == y).sum()))
                verification = verify(
                    network,
                    x,
                    y,
                    result.x_adv,
                    clean=clean,
                    claimed=result.fooled,
                    epsilon=epsilon,
                    norm=task.spec.norm,
                )
                # the verified x', inside its ball: a larger perturbation would pass for a larger divergence
                features[epsilon].append(self.extract(verification.x_adv))
            on_images(task, len(x))
        facts = {
            "attack": task.spec.title,
            "norm": task.spec.norm,
            "seed": task.seed,
            "spec": task.settings,
            "seconds": round(time.monotonic() - started, 3),
        }
        for epsilon, batches in features.items():
            name, key = f"{task.spec.title}-{epsilon:g}", self.key(task, epsilon)
            self._store(name, key, Features.from_batches(batches).arrays(), journal, epsilon=epsilon, **facts)

    def _store(self, name: str, key: str, arrays: Arrays, journal: Journal, **facts: Any) -> None:
        """Write features into a shard and the journal; AfdctlError where they are NaN or infinite."""
        target = self.target
        if broken := int((~np.isfinite(arrays["z"]).all(1)).sum()):
            # NaN scores would pass for a perfect discriminator: they are on neither side of its threshold
            raise AfdctlError(
                f"{target.name}: the features of {broken} of {self.subset.n} images ({name}) are NaN or infinite, so "
                "there is nothing to analyse; take another checkpoint"
            )
        images = {"data": target.data_digest, "subset": self.subset.rule, "n": self.subset.n}
        row = {"key": key, "checkpoint": target.digest, **images, **facts}
        attributes = {
            field: json.dumps(value) if isinstance(value, dict) else value
            for field, value in row.items()
            if value is not None
        }
        self.shards[key] = shards.write(target.run, f"features-{name}", arrays, attributes)
        journal.append("features", shard=self.shards[key], **row)
        journal.sync()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the images' numbers in the split (b,), images (b, c, h, w) and labels (b,)."""
        split = self.target.split
        for index in torch.split(self.subset.index.to(split.x.device), self.batch_size):
            yield index, as_floats(split.x[index]), split.y[index]
