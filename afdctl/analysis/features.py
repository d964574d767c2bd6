"""The features of images: what the classifier C_phi sees of them."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from afdctl.data.loader import as_floats
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation.batch import prepare_model, search
from afdctl.evaluation.plan import Task, key_of
from afdctl.evaluation.statistics import Array
from afdctl.evaluation.target import EvaluationTarget
from afdctl.evaluation.verify import predict, verify
from afdctl.journal import Journal, JournalCache
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.runs import shards
from afdctl.runs.shards import Arrays


@dataclass(frozen=True)
class Features:
    """Of n images, in float32: z (n, m) is F(x), `length` (n,) its L2 norm before it is normalised, logits (n, k)."""

    z: Array
    length: Array
    logits: Array

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        return cls(arrays["z"], arrays["length"], arrays["logits"])

    def arrays(self) -> Arrays:
        return {"z": self.z, "length": self.length, "logits": self.logits}

    def errors(self, label: Array) -> float:
        """The share of images that are not classified as `label` (n,); logits that are no numbers are errors."""
        right = (self.logits.argmax(1) == label) & np.isfinite(self.logits).all(1)
        return float(1 - right.mean())


Extract = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Images (n, c, h, w) to z, length and logits, without gradients."""


def extractor(network: nn.Module) -> Extract:
    """How to take the features of a network; those of a model of one's own are what its last linear layer is given.

    Error: RecipeError for a model without such a layer.
    """
    return _ours(network) if isinstance(network, FeatureClassifier) else _foreign(network)


def _ours(network: FeatureClassifier) -> Extract:
    encoder, norm = network.F_theta

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = encoder(x)
        z = norm(h)
        return z.float(), h.float().norm(dim=1), network.C_phi(z).float()

    return extract


def _foreign(network: nn.Module) -> Extract:
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise RecipeError("the model has no linear layer (nn.Linear), before which its features could be taken")

    @torch.no_grad()
    def extract(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen: list[Tensor] = []
        watch = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        try:
            logits = network(x)
        finally:
            watch.remove()
        if not seen:
            raise RecipeError("the model does not use its last linear layer, before which its features would be taken")
        z = seen[-1].flatten(1).float()
        return z, z.norm(dim=1), logits.float()

    return extract


def to_numpy(blocks: list[tuple[Tensor, Tensor, Tensor]]) -> Features:
    """The batches' features as arrays."""
    z, length, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True))
    return Features(z, length, logits)


VERSION = 1
"""Part of every key of features: raise it when features change, so that old ones do not pass for new."""

OnProgress = Callable[[Task, int], None]
"""Told after each batch which task is at work, and how many images more are done."""


class FeatureCache:
    """The features that a run keeps of a network's first `n` test images.

    `check` is called before each pass of an attack, and may raise.
    """

    def __init__(self, subject: EvaluationTarget, n: int, batch_size: int, check: Callable[[], None]) -> None:
        self.subject, self.n, self.batch_size, self.check = subject, n, batch_size, check
        self.extract = extractor(subject.network)
        self.reader = JournalCache(subject.run.journal_path)
        self.shards: dict[str, str] = {}
        """Key -> shard of all features that the run has, and that are whole."""
        self.look()

    def look(self) -> None:
        """Read what the run holds."""
        named = {row["key"]: row["shard"] for row in self.reader.of_event("features")}
        self.shards = {key: shard for key, shard in named.items() if shards.intact(self.subject.run, shard)}

    def missing(self, tasks: Iterable[Task]) -> list[Task]:
        """What is left to do of attacks, in pieces that are kept as soon as they are done.

        A piece is one epsilon, or of an attack that minimises a norm the whole grid, which one run serves.
        """
        pieces = []
        for task in tasks:
            grids = [task.epsilons] if task.spec.minimises else [(epsilon,) for epsilon in task.epsilons]
            pieces += [task.only(grid) for grid in grids if any(self.key(task, one) not in self.shards for one in grid)]
        return pieces

    def key(self, task: Task, epsilon: float) -> str:
        return key_of(["attacked", VERSION, task.key(self.subject, epsilon)])

    @property
    def natural_key(self) -> str:
        parts = ["natural", VERSION, self.subject.digest, self.subject.data_digest, self.n]
        return key_of(parts)

    def keys(self, tasks: Iterable[Task]) -> list[str]:
        """The keys of the images' own features, and of those under attacks."""
        return [self.natural_key, *(self.key(task, epsilon) for task in tasks for epsilon in task.epsilons)]

    def natural(self, journal: Journal) -> tuple[Features, Array]:
        """The features of the images themselves, and their labels (n,)."""
        if self.natural_key not in self.shards:
            features = to_numpy([self.extract(x) for _, x, _ in self.batches()])
            label = torch.cat([y for _, _, y in self.batches()]).cpu().numpy()
            kept = features.arrays() | {"label": label}
            self.keep("natural", self.natural_key, kept, journal, attack=None, norm=None, epsilon=0.0, seed=None)
        arrays = shards.read(self.subject.run, self.shards[self.natural_key])
        return Features.of(arrays), arrays["label"]

    def at(self, task: Task, epsilon: float) -> Features:
        """The features of the images of an attack, which must have been added."""
        return Features.of(shards.read(self.subject.run, self.shards[self.key(task, epsilon)]))

    def add(self, task: Task, journal: Journal, on_progress: OnProgress) -> None:
        """Attack all images, those too that are misclassified anyway, and keep the features of what comes out."""
        began = time.monotonic()
        model = prepare_model(self.subject.network, self.check)
        blocks: dict[float, list[tuple[Tensor, Tensor, Tensor]]] = {epsilon: [] for epsilon in task.epsilons}
        for first, x, y in self.batches():
            clean = predict(self.subject.network, x)
            found = search(task.spec, task.seed, model, x, y, torch.ones_like(y, dtype=torch.bool), first)
            for epsilon, finding in found.items():
                verdict = verify(
                    self.subject.network, x, y, clean, finding.x_adv, finding.fooled, epsilon, task.spec.norm
                )
                blocks[epsilon].append(self.extract(verdict.x_adv))
            on_progress(task, len(x))
        about = {"attack": task.spec.title, "norm": task.spec.norm, "seed": task.seed}
        about["spec"] = task.settings
        about["seconds"] = round(time.monotonic() - began, 3)
        for epsilon, parts in blocks.items():
            arrays = to_numpy(parts).arrays()
            self.keep(
                f"{task.spec.title}-{epsilon:g}", self.key(task, epsilon), arrays, journal, epsilon=epsilon, **about
            )

    def keep(self, stem: str, key: str, arrays: shards.Arrays, journal: Journal, **about: Any) -> None:
        """Put features into the run; AfdctlError for such as no analysis could make sense of."""
        if broken := int((~np.isfinite(arrays["z"]).all(1)).sum()):
            # NaN scores would pass for a perfect discriminator: they lie on neither side of its threshold
            of = f"the features of {broken} of {self.n} images ({stem}) are NaN or infinite"
            raise AfdctlError(f"{self.subject.name}: {of}, so there is nothing to analyse; take another checkpoint")
        subject = self.subject
        facts = {"key": key, "checkpoint": subject.digest, "data": subject.data_digest, "n": self.n, **about}
        known = {name: json.dumps(fact) if isinstance(fact, dict) else fact for name, fact in facts.items()}
        written = {name: fact for name, fact in known.items() if fact is not None}
        self.shards[key] = shards.write(subject.run, f"features-{stem}", arrays, written)
        journal.append("features", shard=self.shards[key], **facts)
        journal.sync()

    def batches(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The number of the first image, images (b, c, h, w) and labels (b,)."""
        split = self.subject.split
        for first in range(0, self.n, self.batch_size):
            rows = slice(first, min(first + self.batch_size, self.n))
            yield first, as_floats(split.x[rows]), split.y[rows]
