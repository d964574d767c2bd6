"""Analyses of one run: each is made once, and its result kept in the run, keyed by all that it depends on."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from afdctl import recipe
from afdctl.analysis.base import AnalysisInputs, AttackGrid
from afdctl.analysis.features import VERSION as FEATURES
from afdctl.analysis.features import FeatureCache, OnProgress
from afdctl.analysis.registry import ANALYSES
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation.plan import Task, for_transfer, key_of
from afdctl.evaluation.target import EvaluationTarget, missing_checks
from afdctl.interrupts import RESUME_HINT, StopRequests, catch_signals
from afdctl.journal import Journal, Row, drop_superseded
from afdctl.models import discriminator
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe.schema import AFD
from afdctl.runs import checkpoints, results_file, shards
from afdctl.runs.cells import hidden, returning, shown_analyses
from afdctl.runs.run import Run
from afdctl.suites.attack_config import AttackConfig

VERSION = 1
"""Part of every key: raise it when an analysis' results change, so that old ones do not pass for new."""

EMBEDDINGS = ("tsne", "umap")


def ignore_progress(*told: object) -> None:
    """For those who need not be told."""


@dataclass(frozen=True)
class AnalysisRequest:
    """Which analyses, of the first `n` test images; `grid` is the attack whose strength is varied.

    `attacks` are compared with it, `points` is how many images an embedding shows. `changed` names what of the attacks
    is not their suite's own: settings of the grid, and "attacks" where others are compared than the suite's.
    """

    names: Sequence[str]
    grid: AttackConfig
    attacks: Sequence[AttackConfig]
    n: int
    seed: int
    points: int
    changed: tuple[str, ...] = ()


class AnalysisRunner:
    """The analyses of one network. `discriminator` is the D_psi that was trained with it, or None."""

    def __init__(
        self, subject: EvaluationTarget, wanted: AnalysisRequest, discriminator: nn.Module | None, batch_size: int
    ) -> None:
        self.subject, self.wanted, self.discriminator = subject, wanted, discriminator
        self.requests = StopRequests()
        self.collection = FeatureCache(subject, wanted.n, batch_size, self.obey)
        if subject.classes < 2 and any(ANALYSES[name].needs != "natural" for name in wanted.names):
            raise RecipeError(f"{subject.name}: {subject.dataset} has one class; adversarial images need two")
        if wanted.n < 2 and "hdh" in wanted.names:
            raise RecipeError("--hdh: one half of the images trains the probe, the other measures it; give two or more")
        self.grid = self.task(wanted.grid)
        others = [self.task(spec) for spec in wanted.attacks if spec.title != wanted.grid.title]
        self.attacks = [self.grid, *others]

    def task(self, spec: AttackConfig) -> Task:
        """The attack at full strength: one that stops at its first success leaves x' where its boundary is crossed."""
        task = Task(for_transfer(spec), self.subject, (self.subject,), self.wanted.seed, self.wanted.n)
        return task.in_batches(self.collection.batch_size)

    def run(
        self, on_progress: OnProgress = ignore_progress, on_analysis: Callable[[str], None] = ignore_progress
    ) -> dict[str, Row]:
        """Name -> row of each analysis; `on_analysis` is told its name when its features are there.

        Errors: BusyError, DiskFullError, StoppedError; what is done stays.
        """
        run = self.subject.run
        if not self.missing() and not self.checks() and not self.returning():
            results_file.refresh(run)
            return self.rows()
        with run.open_journal() as journal, catch_signals() as self.requests:
            journal.extend(self.checks())
            self.collection.look()  # again: until the journal was open, another process may have been at it
            try:
                journal.extend(self.returning())
                for name in self.missing():
                    self.obey()
                    self.analyse(name, journal, on_progress, on_analysis)
            except BaseException:
                # what ended it is what its user must know, also where results.h5 does not fit on the disk
                with suppress(AfdctlError, OSError):
                    results_file.build(run)
                raise
            results_file.build(run)
        return self.rows()

    def checks(self) -> list[Row]:
        """The network's check, unless the journal has it."""
        return missing_checks([self.subject], self.collection.reader)

    def counted(self) -> list[Row]:
        """The rows of the run that count."""
        self.collection.reader.of_event("analysis")
        return drop_superseded(self.collection.reader.rows)

    def returning(self) -> list[Row]:
        """The wanted rows that take the place of others in tables and results.h5 once they are written again."""
        wanted = [row | {"changed": self.changed(name)} for name, row in self.rows().items()]
        return returning(self.counted(), wanted)

    def changed(self, name: str) -> list[str]:
        """What of the attacks that an analysis looks at is not their suite's own."""
        if not self.tasks(name):
            return []
        compares = ANALYSES[name].needs == "attacks"
        return [change for change in self.wanted.changed if change != "attacks" or compares]

    def rows(self) -> dict[str, Row]:
        """The rows of those analyses that the run has, by name."""
        run = self.subject.run
        known = {row["key"]: row for row in self.collection.reader.of_event("analysis")}
        rows = {name: known.get(self.key(name)) for name in self.wanted.names}
        return {
            name: row
            for name, row in rows.items()
            if row and (row["shard"] is None or shards.intact(run, row["shard"]))
        }

    def not_shown(self) -> list[Row]:
        """What tables, figures and results.h5 show instead of what was wanted."""
        counted = self.counted()
        shown = shown_analyses(counted)
        return [shown[row["name"]] for row in hidden(counted, self.rows().values()) if row["name"] in shown]

    def missing(self) -> list[str]:
        rows = self.rows()
        return [name for name in self.wanted.names if name not in rows]

    def left(self) -> list[Task]:
        """The attacks that the missing analyses wait for, in pieces."""
        tasks = {task.parts_key: task for name in self.missing() for task in self.tasks(name)}
        return self.collection.missing(tasks.values())

    def tasks(self, name: str) -> list[Task]:
        """The attacks whose images an analysis looks at."""
        return {"natural": [], "grid": [self.grid], "attacks": self.attacks}[ANALYSES[name].needs]

    def key(self, name: str) -> str:
        """All that an analysis' result depends on, as 16 hexadecimal digits."""
        wanted, subject = self.wanted, self.subject
        attacks = [task.parts_key for task in self.tasks(name)]
        points = wanted.points if name in EMBEDDINGS else None
        parts = [VERSION, FEATURES, name, subject.digest, subject.data_digest, wanted.n, wanted.seed, attacks, points]
        return key_of(parts)

    def analyse(self, name: str, journal: Journal, on_progress: OnProgress, on_analysis: Callable[[str], None]) -> None:
        """Compute what is missing of the features, then the result, and keep both."""
        for piece in self.collection.missing(self.tasks(name)):
            self.collection.add(piece, journal, on_progress)
        gathered = self.gathered(journal)
        on_analysis(name)
        began = time.monotonic()
        result = ANALYSES[name].work(gathered)
        shard = shards.write(self.subject.run, name, result.arrays) if result.arrays else None
        row = {
            "event": "analysis",
            "name": name,
            "key": self.key(name),
            "checkpoint": self.subject.digest,
            "n": self.wanted.n,
            "points": self.wanted.points if name in EMBEDDINGS else None,
            "changed": self.changed(name),
            "seed": self.wanted.seed,
            "metrics": dict(result.figures),
            "shard": shard,
            "features": self.collection.keys(self.tasks(name)),
            "seconds": round(time.monotonic() - began, 3),
        }
        journal.extend([row])
        journal.sync()

    def gathered(self, journal: Journal) -> AnalysisInputs:
        by_title = {task.spec.title: task for task in self.attacks}
        natural, label = self.collection.natural(journal)
        return AnalysisInputs(
            label=label,
            classes=self.subject.classes,
            natural=natural,
            grid=grid_of(self.grid),
            attacks=tuple(map(grid_of, self.attacks)),
            at=lambda title, epsilon: self.collection.at(by_title[title], epsilon),
            discriminator=self.discriminator,
            seed=self.wanted.seed,
            points=self.wanted.points,
        )

    def obey(self) -> None:
        """Leave where a signal asked for it."""
        self.requests.raise_if_stopped(RESUME_HINT)


def grid_of(task: Task) -> AttackGrid:
    return AttackGrid(task.spec.title, task.spec.norm, task.epsilons)


def discriminator_of(run: Run, which: str, subject: EvaluationTarget) -> nn.Module | None:
    """D_psi of the run's checkpoint `which`, frozen; None for a run without one: NT, AT, TRADES, and foreign models."""
    if run.kind == "external" or not isinstance(subject.network, FeatureClassifier):
        return None
    defense = recipe.loads(run.recipe_text).defense
    loaded = checkpoints.load(run, which)
    with checkpoints.fitting(loaded):
        state = loaded.state["defense"].get("D_psi")
        if not isinstance(defense, AFD) or state is None:
            return None
        D_psi = discriminator.build(
            defense.discriminator,
            features=subject.network.features,
            classes=subject.classes,
            hidden=defense.hidden,
            spectral=defense.spectral_norm,
        )
        D_psi.load_state_dict(state)
    return D_psi.eval().requires_grad_(False)
