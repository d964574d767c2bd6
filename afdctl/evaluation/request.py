"""What `attack`, `sweep` and `afdctl.evaluate` ask for: from targets and suites to a runner, and its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from afdctl import recipe
from afdctl.data.loader import as_floats
from afdctl.data.subset import Subset
from afdctl.errors import RecipeError
from afdctl.evaluation import attack_checks, plan, time_estimate
from afdctl.evaluation.batch import check_precision
from afdctl.evaluation.cells import Rows
from afdctl.evaluation.curves import SampleCurve, WorstCaseCurve, sweep_curves, worst_case_curves
from afdctl.evaluation.plan import Task
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget
from afdctl.evaluation.union import UnionAccuracy, trained_union, union_accuracy
from afdctl.journal import Row
from afdctl.models.native_precision import AUTO, MEASURED_IMAGES, choose_precision
from afdctl.runs.curves import accuracy_interval, fault_warnings
from afdctl.runs.run import Run
from afdctl.suites.balls import Balls
from afdctl.suites.load import Suite

Targets = Sequence[EvaluationTarget]


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Which attacks on which images: `suites` has the attacks for each data set.

    With `matrix`, images are made on each target and transferred to the others. `limit` and `first` choose test images
    (see `Subset.of`). `batch_size` None: chosen by timing a few steps.
    """

    suites: Mapping[str, Suite]
    limit: int | None = None
    first: int | None = None
    seed: int = 0
    precision: str = "float32"
    matrix: bool = False
    batch_size: int | None = None
    save_images: bool = False

    def warnings(self, targets: Targets) -> list[str]:
        """Return each warning once: of the models, of how their images were read, and of the attacks on them."""
        lines = [f"{target.name}: {warning}" for target in targets for warning in target.warnings]
        for target in targets:
            lines += [*target.notes, *attack_checks.attack_warnings(self.suite_of(target).attacks, target.classes)]
        return list(dict.fromkeys(lines))

    def check(self, targets: Targets) -> None:
        """Raise RecipeError for models and epsilons that cannot be evaluated."""
        for target in targets:
            if self.precision not in (AUTO, "float32"):
                # two images show whether the network can run in this precision at all
                check_precision(target.network, as_floats(target.split.x[:2]), self.precision)
            attack_checks.check_epsilons(self.suite_of(target).attacks, target)
            time_estimate.try_user_attacks(self.suite_of(target).attacks, target)

    def tasks(self, targets: Targets, sources: Targets) -> list[Task]:
        """Plan white-box attacks, or transfer attacks where sources are named. Error: RecipeError for no attack."""
        options: dict[str, Any] = {"seed": self.seed, "choose": partial(Subset.of, limit=self.limit, first=self.first)}
        if self.matrix:
            if len(targets) < 2:
                raise RecipeError("--matrix: name at least two runs; each is attacked with the others' images")
            tasks = plan.plan_transfers(targets, targets, self.suite_of, **options)
        elif sources:
            tasks = plan.plan_transfers(sources, targets, self.suite_of, **options)
            if not tasks:
                raise RecipeError("--from: names the run that is attacked; leave --from out for a white-box attack")
        else:
            tasks = plan.plan_white_box(targets, self.suite_of, **options)
        if transfer := next((task for task in tasks if task.transfers and task.spec.distils), None):
            raise RecipeError(
                f"{transfer.spec.title}: transfers from a network of its own; leave --from and --matrix out"
            )
        if self.precision != AUTO:
            return [task.with_precision(self.precision) for task in tasks]
        attacked = {task.source.digest: task.source for task in tasks if gains_from_bf16(task)}
        faster = {digest: faster_precision(source) for digest, source in attacked.items()}
        return [
            task.with_precision(faster[task.source.digest] if gains_from_bf16(task) else "float32") for task in tasks
        ]

    def runner(self, targets: Targets, sources: Targets = ()) -> SweepRunner:
        """Plan the attacks and return what runs them."""
        tasks = self.tasks(targets, sources)
        return SweepRunner(
            tasks,
            # the suite has the same name for every data set
            suite=next(iter(self.suites.values())).name,
            save_images=self.save_images,
            batch_size=self.batch_size
            or time_estimate.choose_batch_size(targets[0], tasks[0].n, [task.spec for task in tasks]),
        )

    def suite_of(self, target: EvaluationTarget) -> Suite:
        return self.suites[target.dataset]


def faster_precision(target: EvaluationTarget) -> str:
    """Time a few passes through a target and return the precision in which they are faster."""
    make_pass = partial(time_estimate.attack_step, target, min(MEASURED_IMAGES, len(target.split)))
    return choose_precision(make_pass, target.split.x.device)


def gains_from_bf16(task: Task) -> bool:
    """Return whether a task may be searched in bf16: not if that would weaken or slow it down."""
    # a minimum-norm perturbation ends so close to the boundary that bf16 decides wrongly: DDN left 2.4 points more on
    # MNIST, and took 1.2 times as long on digits, where float32 refuted most successes and searched again. The second
    # folded network and the confirmation take longer (1.4 times on MNIST) than the two passes of FGSM save.
    return not task.spec.minimises and task.spec.name != "fgsm"


def trained_balls(run: Run) -> Balls:
    """Return the union of balls that a run was trained in; empty for a single ball or a custom model."""
    return trained_union(recipe.loads(run.recipe_text, run.path) if run.recipe_text else None)


@dataclass(frozen=True)
class Evaluation:
    """The results of a plan whose cells are all measured: cells, curves, worst cases in a norm and in a union of balls.

    Accuracies are shares in [0, 1]. `warnings` limit what the numbers mean.
    """

    suite: str
    cells: list[Row]
    curves: list[SampleCurve]
    worst_cases: list[WorstCaseCurve]
    unions: list[UnionAccuracy]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, runner: SweepRunner, rows: Rows, unions: Mapping[str, Balls], warnings: Sequence[str] = ()
    ) -> "Evaluation":
        """Collect the results that a runner returned as `rows`; `unions` has the balls of a union for each run."""
        tasks = runner.cells.tasks
        by_run = sweep_curves(tasks, rows)
        in_unions = [union_accuracy(curves, unions[run]) for run, curves in by_run.items() if unions.get(run)]
        return cls(
            suite=runner.suite,
            cells=[rows[cell["run"], cell["key"]] | cell for task in tasks for cell in task.cells()],
            curves=[curve for curves in by_run.values() for curve in curves],
            worst_cases=[worst for curves in by_run.values() for worst in worst_case_curves(curves)],
            unions=[union for union in in_unions if union],
            warnings=(
                *warnings,
                *(line for curves in by_run.values() for curve in curves for line in fault_warnings(curve.cells)),
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `sweep --json` prints."""
        return {
            "schema": "afdctl/1",
            "suite": self.suite,
            "cells": self.cells,
            "curves": [curve.as_json() for curve in self.curves],
            "worst_cases": [worst_case.as_json() for worst_case in self.worst_cases],
            "unions": [union.as_json() for union in self.unions],
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each accuracy, as `pandas.DataFrame` takes them; the worst case has rows of its own."""
        rows = [
            {"run": curve.run, "attack": curve.title, "norm": curve.norm, "epsilon": epsilon, "accuracy": accuracy}
            | {"low": interval.low, "high": interval.high, "n": curve.n}
            for curve in self.curves
            for epsilon, accuracy, interval in zip(curve.epsilons, curve.accuracies, curve.intervals, strict=True)
        ]
        for worst in self.worst_cases:
            named = {"run": worst.run, "attack": "worst case", "norm": worst.norm}
            for epsilon, accuracy in zip(worst.epsilons, worst.accuracies, strict=True):
                low, high = accuracy_interval(accuracy, worst.n)
                rows.append(named | {"epsilon": epsilon, "accuracy": accuracy, "low": low, "high": high, "n": worst.n})
        return rows
