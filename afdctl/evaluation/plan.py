"""Plan a sweep: tasks, each one attack over its epsilon grid, made of cells, each one epsilon on one model."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from afdctl.attacks.query_counter import library_version
from afdctl.attacks.surrogate import DISTILLATION_VERSION
from afdctl.data.subset import Subset
from afdctl.errors import RecipeError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite

# part of every cell's key: raise it when an attack's results change, so that old cells are measured again
VERSION = 3

SuiteOf = Callable[[EvaluationTarget], Suite]
# Maps the size of a test split to the images that are attacked
Choose = Callable[[int], Subset]


def make_key(parts: Any) -> str:
    """Hash everything that a result depends on to 16 hexadecimal digits."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attack over its grid: images are made on `source` and verified on `targets`; in a white-box attack, itself.

    `seed` decides every random draw. `subset` names the test images that are attacked. `precision` is that of the
    search; results are verified in float32. `suite` names the suite, `changed` the settings that differ from it.
    `batch_size` must be set where the attack's result depends on it.
    """

    spec: AttackConfig
    source: EvaluationTarget
    targets: tuple[EvaluationTarget, ...]
    seed: int
    subset: Subset
    precision: str = "float32"
    suite: str = ""
    changed: tuple[str, ...] = ()
    batch_size: int | None = None

    @property
    def n(self) -> int:
        return self.subset.n

    @property
    def transfers(self) -> bool:
        return self.targets != (self.source,)

    @property
    def identity(self) -> tuple[str, str, bool]:
        """What distinguishes the tasks of one plan."""
        return self.spec.title, self.source.digest, self.transfers

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The grid without 0, where nothing is attacked."""
        return self.spec.epsilons[1:]

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that decide the result.

        The device, threads and torch's version are left out where they only change how floats are rounded.
        """
        left_out = {"label", "datasets", "epsilons", "schedule"}
        settings: dict[str, Any] = self.spec.model_dump(mode="json", exclude=left_out)
        if user := self.spec.user_attack:
            settings |= {"name": user.name, "code": user.digest}  # the same wherever the file is
        if self.spec.batch_dependent:
            # the whole batch shares one stream of random numbers, from its device's generator
            assert self.batch_size is not None, f"{self.spec.title}: its batch size is not decided yet"
            settings |= {"batch_size": self.batch_size, "device": self.source.split.x.device.type}
        if self.spec.distils:
            settings["distillation"] = DISTILLATION_VERSION
        if self.spec.library_dependent:
            settings["library"] = library_version()
        if self.spec.library_attack:
            settings["library"] = self.spec.library_attack.version
        return settings

    @property
    def grid(self) -> tuple[float, ...] | None:
        """The epsilons, 0 first, where a result depends on the others of the grid; else None."""
        return self.spec.epsilons if self.spec.order in ("ascending", "descending") else None

    def key(self, target: EvaluationTarget, epsilon: float) -> str:
        """Return the key of a cell: equal for cells with the same result."""
        return make_key(
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
                "subset": self.subset.key,
                "precision": self.precision,
            }
        )

    @property
    def block_key(self) -> str:
        """The key under which the finished blocks of samples of this task are stored."""
        # all of them, so that a block never serves another grid or other targets
        keys = [self.key(target, epsilon) for target in self.targets for epsilon in self.epsilons]
        return sha256("".join(keys).encode()).hexdigest()[:16]

    def pending(self, missing: Sequence[float]) -> "Task | None":
        """Return the task that measures the missing epsilons, or None where there are none.

        Where results depend on the rest of the grid, or one search serves all of it, that is the whole task.
        """
        if not missing:
            return None
        return self.with_epsilons(missing) if self.spec.order == "independent" else self

    def with_epsilons(self, epsilons: Iterable[float]) -> "Task":
        """Return the task on another grid, given without 0."""
        grid = (0.0, *sorted(epsilons))
        return replace(self, spec=self.spec.model_copy(update={"epsilons": grid}))

    def with_precision(self, precision: str) -> "Task":
        return replace(self, precision=precision)

    def with_batch_size(self, size: int) -> "Task":
        """Return the task in batches of `size` images, at most all of them."""
        return replace(self, batch_size=min(size, self.n))

    def cells(self) -> list[dict[str, Any]]:
        """List the cells as the journal's plan names them."""
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


def plan_white_box(
    targets: Sequence[EvaluationTarget], suite_of: SuiteOf, *, seed: int, choose: Choose = Subset.of
) -> list[Task]:
    """Plan attacks on each target with access to its gradients, on the test images that `choose` takes."""
    tasks = []
    for target in targets:
        tasks += _tasks_of(suite_of(target), target, (target,), seed=seed, choose=choose)
    return tasks


def plan_transfers(
    sources: Sequence[EvaluationTarget],
    targets: Sequence[EvaluationTarget],
    suite_of: SuiteOf,
    *,
    seed: int,
    choose: Choose = Subset.of,
) -> list[Task]:
    """Plan black-box attacks: images made on each source, verified on every target but itself."""
    tasks = []
    for source in sources:
        # on its source a transfer would be a white-box attack
        others = tuple(target for target in targets if target.digest != source.digest)
        for target in others:
            if target.data_digest != source.data_digest:
                raise RecipeError(f"--from {source.name}: its test images are not those of {target.name}")
        if others:
            suite = suite_of(source)
            tasks += [
                replace(task, spec=full_strength(task.spec))
                for task in _tasks_of(suite, source, others, seed=seed, choose=choose)
            ]
    return tasks


def _tasks_of(
    suite: Suite, source: EvaluationTarget, targets: tuple[EvaluationTarget, ...], *, seed: int, choose: Choose
) -> list[Task]:
    subset = choose(len(source.split))
    return [
        Task(
            spec=spec,
            source=source,
            targets=targets,
            seed=seed,
            subset=subset,
            suite=suite.name,
            changed=suite.changes(spec),
        )
        for spec in suite.attacks
    ]


def full_strength(spec: AttackConfig) -> AttackConfig:
    """Return the attack without early stop: an image that barely fools its source rarely fools another model."""
    update: dict[str, Any] = {"early_stop": False} if "early_stop" in type(spec).model_fields else {}
    if "independent" in spec.orders:
        update["schedule"] = "independent"
    return spec.model_copy(update=update)
