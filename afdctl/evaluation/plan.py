"""What a sweep has to do: tasks, each an attack over its grid, made of cells, each one epsilon on one model."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from afdctl.attacks.query_counter import library_version
from afdctl.errors import RecipeError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite

VERSION = 2
"""Part of every cell's key: raise it when an attack's results change, so that old ones do not pass for new."""


def key_of(parts: Any) -> str:
    """What a result depends on, as 16 hexadecimal digits."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Task:
    """One attack over its grid: images made against `source`, judged by `targets`; in a white-box attack its only one.

    `seed` decides every random draw, `n` how many test images are attacked: the first ones. `precision` is that of the
    search alone; verdicts are taken in float32. `suite` is where the attack comes from, `changed` names those of its
    settings that are not the suite's own. `batch_size` must be known where the attack's result depends on it.
    """

    spec: AttackConfig
    source: EvaluationTarget
    targets: tuple[EvaluationTarget, ...]
    seed: int
    n: int
    precision: str = "float32"
    suite: str = ""
    changed: tuple[str, ...] = ()
    batch_size: int | None = None

    @property
    def transfers(self) -> bool:
        return self.targets != (self.source,)

    @property
    def name(self) -> tuple[str, str, bool]:
        """What tells the tasks of a plan apart."""
        return self.spec.title, self.source.digest, self.transfers

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The grid without 0, where nothing is attacked."""
        return self.spec.epsilons[1:]

    @property
    def settings(self) -> dict[str, Any]:
        """All that the attack does: its knobs, and what else decides the result of one that draws for a whole batch.

        Device, threads and versions of torch are not among them where they only change how floats are rounded.
        """
        spec = self.spec.model_dump(mode="json", exclude={"label", "datasets", "epsilons", "schedule"})
        return spec | (self.stream if self.spec.batch_dependent else {}) | self.library

    @property
    def stream(self) -> dict[str, Any]:
        """What decides the random numbers that a batch shares: its size, and whose generator they come from."""
        assert self.batch_size is not None, f"{self.spec.title}: its batch size is not decided yet"
        return {"batch_size": self.batch_size, "device": self.source.split.x.device.type}

    @property
    def library(self) -> dict[str, str]:
        """The version of the library whose steps an attack takes."""
        return {"library": library_version()} if self.spec.library_dependent else {}

    @property
    def grid(self) -> tuple[float, ...] | None:
        """The epsilons, 0 first, where a result at one of them depends on the others; else None."""
        return self.spec.epsilons if self.spec.order in ("ascending", "descending") else None

    def key(self, target: EvaluationTarget, epsilon: float) -> str:
        """What a cell's figure depends on, as 16 hexadecimal digits."""
        return key_of(
            {
                "version": VERSION,
                "attack": self.settings,
                "epsilon": epsilon,
                "order": self.spec.order,
                "grid": self.grid,
                "checkpoint": target.digest,
                "source": self.source.digest,
                "data": target.data_digest,
                "seed": self.seed,
                "n": self.n,
                "precision": self.precision,
            }
        )

    @property
    def parts_key(self) -> str:
        """What the unfinished parts of this task are found by."""
        keys = [self.key(target, epsilon) for target in self.targets for epsilon in self.epsilons]
        return sha256("".join(keys).encode()).hexdigest()[:16]

    def left(self, missing: Sequence[float]) -> "Task | None":
        """What is to be done of it where some epsilons are missing: these alone, or all, or None for nothing.

        An epsilon's result may depend on the rest of the grid. Where one search serves all of it, less costs the same.
        """
        if not missing:
            return None
        return self.only(missing) if self.spec.order == "independent" else self

    def only(self, epsilons: Iterable[float]) -> "Task":
        """The same with a smaller grid."""
        grid = (0.0, *sorted(epsilons))
        return replace(self, spec=self.spec.model_copy(update={"epsilons": grid}))

    def searched_in(self, precision: str) -> "Task":
        """The same with another precision of the search."""
        return replace(self, precision=precision)

    def in_batches(self, size: int) -> "Task":
        """The same in batches of so many images, at most all of them."""
        return replace(self, batch_size=min(size, self.n))

    def cells(self) -> list[dict[str, Any]]:
        """Each cell as the journal lists it in a plan."""
        return [
            {
                "key": self.key(target, epsilon),
                "run": target.name,
                "attack": self.spec.title,
                "norm": self.spec.norm,
                "epsilon": epsilon,
                "source": self.source.name if self.transfers else None,
            }
            for target in self.targets
            for epsilon in self.epsilons
        ]


def white_box(
    subjects: Sequence[EvaluationTarget], suite_of: Callable[[EvaluationTarget], Suite], seed: int, limit: int | None
) -> list[Task]:
    """Every subject attacked with knowledge of itself."""
    return [
        Task(spec, subject, (subject,), seed, count(subject, limit), suite=suite.name, changed=suite.changes(spec))
        for subject in subjects
        for suite in [suite_of(subject)]
        for spec in suite.attacks
    ]


def transfer(
    sources: Sequence[EvaluationTarget],
    targets: Sequence[EvaluationTarget],
    suite_of: Callable[[EvaluationTarget], Suite],
    seed: int,
    limit: int | None,
) -> list[Task]:
    """Images made against each source, judged by every target but itself: black-box attacks."""
    tasks = []
    for source in sources:
        others = tuple(target for target in targets if target.digest != source.digest)
        for target in others:
            if target.data_digest != source.data_digest:
                raise RecipeError(f"--from {source.name}: has other data than {target.name}; images cannot pass over")
        if others:
            suite, n = suite_of(source), count(source, limit)
            tasks += [
                Task(for_transfer(spec), source, others, seed, n, suite=suite.name, changed=suite.changes(spec))
                for spec in suite.attacks
            ]
    return tasks


def for_transfer(spec: AttackConfig) -> AttackConfig:
    """The attack at full strength: an image that barely fools its source rarely fools another model."""
    full: dict[str, Any] = {"early_stop": False} if "early_stop" in type(spec).model_fields else {}
    if "independent" in spec.schedules:
        full["schedule"] = "independent"
    return spec.model_copy(update=full)


def count(subject: EvaluationTarget, limit: int | None) -> int:
    return min(limit or len(subject.split), len(subject.split))
