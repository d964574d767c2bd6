"""Features of a test split, natural and under attack: computed once, and kept in the run."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afdctl.analyses.extract import Features, extractor, on_host
from afdctl.data.batches import as_floats
from afdctl.errors import AfdctlError
from afdctl.events import Journal, Reader
from afdctl.store import shards
from afdctl.sweep.batch import search, searchable
from afdctl.sweep.figures import Array
from afdctl.sweep.plan import Task, key_of
from afdctl.sweep.subject import Subject
from afdctl.sweep.verify import judge, predict

VERSION = 1
"""Part of every key of features: raise it when features change, so that old ones do not pass for new."""

OnProgress = Callable[[Task, int], None]
"""Told after each batch which task is at work, and how many images more are done."""


class Collection:
    """The features that a run keeps of a network's first `n` test images.

    `check` is called before each pass of an attack, and may raise.
    """

    def __init__(self, subject: Subject, n: int, batch_size: int, check: Callable[[], None]) -> None:
        self.subject, self.n, self.batch_size, self.check = subject, n, batch_size, check
        self.extract = extractor(subject.network)
        self.reader = Reader(subject.run.journal_path)
        self.shards: dict[str, str] = {}
        """Key -> shard of all features that the run has, and that are whole."""
        self.look()

    def look(self) -> None:
        """Read what the run holds."""
        named = {row["key"]: row["shard"] for row in self.reader.look("features")}
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
            features = on_host([self.extract(x) for _, x, _ in self.batches()])
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
        model = searchable(self.subject.network, self.check)
        blocks: dict[float, list[tuple[Tensor, Tensor, Tensor]]] = {epsilon: [] for epsilon in task.epsilons}
        for first, x, y in self.batches():
            clean = predict(self.subject.network, x)
            found = search(task.spec, task.seed, model, x, y, torch.ones_like(y, dtype=torch.bool), first)
            for epsilon, finding in found.items():
                verdict = judge(
                    self.subject.network, x, y, clean, finding.x_adv, finding.fooled, epsilon, task.spec.norm
                )
                blocks[epsilon].append(self.extract(verdict.x_adv))
            on_progress(task, len(x))
        about = {"attack": task.spec.title, "norm": task.spec.norm, "seed": task.seed}
        about["spec"] = task.settings
        about["seconds"] = round(time.monotonic() - began, 3)
        for epsilon, parts in blocks.items():
            arrays = on_host(parts).arrays()
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
