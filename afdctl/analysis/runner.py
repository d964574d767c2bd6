"""Run the analyses of a network; each result is kept in the run, keyed by everything that it depends on."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from torch import nn

from afdctl.analysis.base import Analysis, AnalysisInputs, AnalysisRequest, AttackGrid
from afdctl.analysis.features import VERSION as FEATURES_VERSION
from afdctl.analysis.features import FeatureCache, OnImages
from afdctl.analysis.own import built_in
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation import known_checks
from afdctl.evaluation.plan import Task, full_strength, make_key
from afdctl.evaluation.target import EvaluationTarget
from afdctl.image_counts import format_subset
from afdctl.interrupts import RESUME_HINT, StopRequests, catch_signals
from afdctl.journal import Journal, Row, drop_superseded
from afdctl.runs import results_file, shards
from afdctl.runs.selection import (
    describe_checkpoint_shown,
    not_selected,
    replaced_by_other_images,
    rows_to_rewrite,
    selected_analyses,
)
from afdctl.suites.attack_config import AttackConfig

# part of every key: raise it when an analysis' results change, so that old ones are computed again
VERSION = 2
OnAnalysis = Callable[[str], None]


def ignore(*_: object) -> None:
    """Do nothing."""


class AnalysisRunner:
    """Runs the analyses of one network. `discriminator` is the D_psi that was trained with it, or None."""

    def __init__(
        self,
        target: EvaluationTarget,
        request: AnalysisRequest,
        *,
        discriminator: nn.Module | None,
        batch_size: int,
    ) -> None:
        self.target, self.request, self.discriminator = target, request, discriminator
        self.requests = StopRequests()
        # tasks that workers may start early, those of the runs after this one
        self.later: Sequence[Task] = ()
        self.cache = FeatureCache(target, request.subset, batch_size, self.handle_interrupts)
        self.analyses: dict[str, Analysis] = {**built_in(), **request.own}
        if target.classes < 2 and any(self.analyses[name].needs != "natural" for name in request.names):
            raise RecipeError(f"{target.name}: {target.dataset} has one class; adversarial images need two")
        if request.subset.n < 2 and "hdh" in request.names:
            raise RecipeError("--hdh: half of the images train the probe, the others measure it; give two or more")
        self.grid = self._task(request.grid)
        # once: the cells of a repeated attack would count twice in the correlation
        compared = [self._task(spec) for spec in request.attacks if spec.title != request.grid.title]
        self.attacks = [self.grid, *compared]
        self.selected_before = selected_analyses(self._counting_rows(), target.digest)

    def run(self, on_images: OnImages = ignore, on_analysis: OnAnalysis = ignore) -> dict[str, Row]:
        """Run the missing analyses; return the row of each by name. `on_analysis` is called when its features exist.

        Errors: BusyError, DiskFullError, StoppedError; finished work is kept.
        """
        run = self.target.run
        # a finished request takes no lock, so it is shown also while another process writes to the run
        if not self.missing() and not self._missing_checks() and not self._rows_to_rewrite():
            results_file.refresh(run)
            return self.rows()
        with run.open_journal() as journal, catch_signals() as self.requests:
            journal.extend(self._missing_checks())
            # read the journal again: another process may have written until it was locked
            self.cache.refresh()
            try:
                journal.extend(self._rows_to_rewrite())
                for name in self.missing():
                    self.handle_interrupts()
                    self.run_analysis(name, journal, on_images, on_analysis)
            except BaseException:
                # the user must see what ended the work, also where results.h5 does not fit on the disk
                with suppress(AfdctlError, OSError):
                    results_file.build(run)
                raise
            results_file.build(run)
        return self.rows()

    def run_analysis(self, name: str, journal: Journal, on_images: OnImages, on_analysis: OnAnalysis) -> None:
        """Compute the missing features, then the result, and store both."""
        for piece in self.cache.missing(self.tasks(name)):
            # `piece` is the first of what is pending
            self.cache.add(piece, [*self.pending_tasks()[1:], *self.later], journal, on_images)
        inputs = self._inputs(journal)
        on_analysis(name)
        started = time.monotonic()
        result = self.analyses[name].compute(inputs)
        # the shard before its row: after a crash between them, a row would name a shard that is not there
        shard = shards.write(self.target.run, name, result.arrays) if result.arrays else None
        row = {
            "event": "analysis",
            "name": name,
            "key": self.key(name),
            "checkpoint": self.target.digest,
            "subset": self.request.subset.rule,
            "n": self.request.subset.n,
            "split_n": self.request.subset.split_n,
            "points": self.request.points if self.analyses[name].points else None,
            "changed": self._changed(name),
            "seed": self.request.seed,
            **({"spec": dict(spec)} if (spec := self.analyses[name].spec) else {}),
            "metrics": dict(result.metrics),
            "shard": shard,
            "features": self.cache.keys(self.tasks(name)),
            "seconds": round(time.monotonic() - started, 3),
        }
        journal.extend([row])
        journal.sync()

    def rows(self) -> dict[str, Row]:
        """Map the requested analyses that the run has to their rows."""
        by_key = {row["key"]: row for row in self.cache.reader.of_event("analysis")}
        rows = {name: by_key.get(self.key(name)) for name in self.request.names}
        return {
            name: row
            for name, row in rows.items()
            # an analysis whose shard is lost is computed again
            if row and (row["shard"] is None or shards.intact(self.target.run, row["shard"]))
        }

    def missing(self) -> list[str]:
        """Return the requested analyses that the run lacks."""
        rows = self.rows()
        return [name for name in self.request.names if name not in rows]

    def pending_tasks(self) -> list[Task]:
        """Return the attacks that the missing analyses need, in pieces."""
        tasks = {task.block_key: task for name in self.missing() for task in self.tasks(name)}
        return self.cache.missing(tasks.values())

    def tasks(self, name: str) -> list[Task]:
        """Return the attacks whose images an analysis needs."""
        return {"natural": [], "grid": [self.grid], "attacks": self.attacks}[self.analyses[name].needs]

    def key(self, name: str) -> str:
        """Return the key of an analysis: equal for equal results."""
        request, target = self.request, self.target
        attacks = [task.block_key for task in self.tasks(name)]
        points = request.points if self.analyses[name].points else None
        parts = [VERSION, FEATURES_VERSION, name, target.digest, target.data_digest, *request.subset.key]
        return make_key(
            [*parts, request.seed, attacks, points, *([dict(spec)] if (spec := self.analyses[name].spec) else [])]
        )

    def shown_instead(self) -> list[str]:
        """Return a line for each requested result in whose place tables, figures and results.h5 show another."""
        rows = self._counting_rows()
        selected = selected_analyses(rows, self.target.digest)
        kept = [selected[row["name"]] for row in not_selected(rows, self.rows().values()) if row["name"] in selected]
        lines = [f"results.h5, tables and figures keep {row['name']} of {format_subset(row, 'images')}" for row in kept]
        # the other way round: results on other images that these replaced
        lines += [
            f"results.h5, tables and figures now have {new['name']} of {format_subset(new, 'images')}, in place of "
            f"{format_subset(old, 'images')}"
            for old, new in replaced_by_other_images(self.selected_before, selected)
        ]
        other = describe_checkpoint_shown(rows, "analysis", self.target.digest)
        return [*lines, other] if other else lines

    def handle_interrupts(self) -> None:
        """Raise StoppedError where a signal asked to stop."""
        self.requests.raise_if_stopped(RESUME_HINT)

    def _task(self, spec: AttackConfig) -> Task:
        """Make a task without early stop, which would leave x' where the boundary is crossed."""
        task = Task(
            spec=full_strength(spec),
            source=self.target,
            targets=(self.target,),
            seed=self.request.seed,
            subset=self.request.subset,
        )
        return task.with_batch_size(self.cache.batch_size)

    def _missing_checks(self) -> list[Row]:
        """Return the network's check, unless the journal has it."""
        return known_checks.missing([self.target.check], self.cache.reader)

    def _counting_rows(self) -> list[Row]:
        self.cache.reader.of_event("analysis")
        return drop_superseded(self.cache.reader.rows)

    def _rows_to_rewrite(self) -> list[Row]:
        """Return the requested rows that would count in place of others if they were written again."""
        requested = [row | {"changed": self._changed(name)} for name, row in self.rows().items()]
        return rows_to_rewrite(self._counting_rows(), requested)

    def _changed(self, name: str) -> list[str]:
        """Return which settings of the attacks of an analysis differ from their suite."""
        if not self.tasks(name):
            return []
        compares = self.analyses[name].needs == "attacks"
        return [change for change in self.request.changed if change != "attacks" or compares]

    def _inputs(self, journal: Journal) -> AnalysisInputs:
        tasks = {task.spec.title: task for task in self.attacks}
        natural, label = self.cache.natural(journal)
        return AnalysisInputs(
            index=self.request.subset.index.numpy().astype(np.int32),
            label=label,
            classes=self.target.classes,
            natural=natural,
            grid=_attack_grid(self.grid),
            attacks=tuple(map(_attack_grid, self.attacks)),
            features_at=lambda title, epsilon: self.cache.adversarial(tasks[title], epsilon),
            discriminator=self.discriminator,
            seed=self.request.seed,
            points=self.request.points,
        )


def _attack_grid(task: Task) -> AttackGrid:
    return AttackGrid(title=task.spec.title, norm=task.spec.norm, epsilons=task.epsilons)
