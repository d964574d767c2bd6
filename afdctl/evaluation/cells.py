"""The cells of a plan: which are measured, which are missing, and the journal's row of a new one."""

from collections.abc import Iterable, Sequence

import numpy as np

from afdctl.evaluation.plan import Task
from afdctl.evaluation.target import EvaluationTarget, missing_checks
from afdctl.journal import JournalCache, Row, drop_superseded
from afdctl.runs import shards
from afdctl.runs.curves import wilson
from afdctl.runs.run import Run
from afdctl.runs.selection import rows_to_rewrite, selected_curves, shadowed_rows
from afdctl.runs.shards import Arrays

# Rows of finished cells by run and key: two runs can hold the same network, and so the same keys
Rows = dict[tuple[str, str], Row]


class PlannedCells:
    """The tasks of a plan, and in `rows` their cells that the runs' journals have.

    With `save_images`, a cell without its adversarial images counts as missing. `tasks` have the batch sizes that
    memory has room for, so that keys describe what was really done.
    """

    def __init__(self, tasks: Sequence[Task], save_images: bool) -> None:
        self.tasks, self.save_images = list(tasks), save_images
        self.targets = {target.name: target for task in tasks for target in task.targets}
        self.runs = {name: target.run for name, target in self.targets.items()}
        self.readers = {name: JournalCache(run.journal_path) for name, run in self.runs.items()}
        self.rows: Rows = {}

    def pending_tasks(self) -> list[Task]:
        """Read the journals into `rows`, and return the tasks with the epsilons that some target lacks."""
        for name, run in self.runs.items():
            cells = intact_cells(run, self.readers[name].of_event("cell"), with_images=self.save_images)
            self.rows |= {(name, key): row for key, row in cells.items()}
        self.tasks = [self._with_started_batch_size(task) for task in self.tasks]
        return [pending for task in self.tasks if (pending := task.pending(self.missing_epsilons(task)))]

    def missing_epsilons(self, task: Task) -> list[float]:
        return [
            epsilon
            for epsilon in task.epsilons
            if any((target.name, task.key(target, epsilon)) not in self.rows for target in task.targets)
        ]

    def finished(self, name: str) -> list[Row]:
        """Return a run's finished cells as this plan names them: another suite may have measured them."""
        return [
            self.rows[name, cell["key"]]
            | {"attack": cell["attack"], "suite": task.suite, "changed": list(task.changed)}
            for task in self.tasks
            for cell in task.cells()
            if cell["run"] == name and (name, cell["key"]) in self.rows
        ]

    def missing_checks(self, name: str) -> list[Row]:
        """Return the checks that a run's journal lacks: of its network, and of the sources of its transfers."""
        sources = [task.source for task in self.tasks if any(target.name == name for target in task.targets)]
        return missing_checks([self.targets[name], *sources], self.readers[name])

    def rows_to_rewrite(self, name: str) -> list[Row]:
        """Return a run's finished cells that would count in place of others if they were written again."""
        return rows_to_rewrite(drop_superseded(self.readers[name].rows), self.finished(name))

    def shadowed(self) -> list[tuple[str, Row, Row]]:
        """Return run, finished cell and a cell of the curve that counts in its place, for tables and results.h5."""
        shadowed = []
        for name, reader in self.readers.items():
            reader.of_event("cell")
            rows = drop_superseded(reader.rows)
            curves = selected_curves(rows)
            for row in shadowed_rows(rows, self.finished(name)):
                if curve := curves.get((row["attack"], row["source"])):
                    shadowed.append((name, row, curve.cells[0]))
        return shadowed

    def _with_started_batch_size(self, task: Task) -> Task:
        """Return the task with its batch size halved as often as finds the most finished cells.

        An earlier sweep that ran out of memory used the smaller batches; the larger ones would only fail again.
        """
        if not task.spec.batch_dependent or not task.batch_size or not self.missing_epsilons(task):
            return task
        halvings = [task.with_batch_size(task.batch_size >> times) for times in range(task.batch_size.bit_length())]
        return min(halvings, key=lambda halved: len(self.missing_epsilons(halved)))


def intact_cells(run: Run, cells: Iterable[Row], with_images: bool) -> dict[str, Row]:
    """Map the keys of cells whose shard is intact to their rows; `with_images`: only those that kept their images."""
    rows = [row for row in cells if row["images"] or not with_images]
    intact = {name for name in {row["shard"] for row in rows} if shards.intact(run, name)}
    return {row["key"]: row for row in rows if row["shard"] in intact}


def cell_row(task: Task, target: EvaluationTarget, epsilon: float, arrays: Arrays, *, seconds: float) -> Row:
    """Build the journal's row of a finished cell; its seconds are its share of the task's, by passes."""
    passes = {grid_epsilon: _total_passes(arrays, grid_epsilon) for grid_epsilon in task.epsilons}
    total = sum(passes.values())
    robust = int((arrays[f"{epsilon:g}/distance"] == np.inf).sum())
    low, high = wilson(robust, task.n)
    return {
        "event": "cell",
        "key": task.key(target, epsilon),
        "attack": task.spec.title,
        "norm": task.spec.norm,
        "epsilon": epsilon,
        "source": task.source.name if task.transfers else None,
        "schedule": task.spec.order,
        "grid": task.grid,
        "suite": task.suite,
        "changed": list(task.changed),
        "spec": task.spec.model_dump(mode="json", exclude={"label", "datasets", "epsilons"}) | task.settings,
        "checkpoint": target.digest,
        "source_checkpoint": task.source.digest if task.transfers else None,
        "n": task.n,
        "split_n": len(target.split),
        "seed": task.seed,
        "precision": task.precision,
        "acc_nat": float((arrays["clean"] == arrays["label"]).mean()),
        "accuracy": robust / task.n,
        "low": low,
        "high": high,
        "forwards": int(arrays[f"{epsilon:g}/forwards"].sum()),
        "backwards": int(arrays[f"{epsilon:g}/backwards"].sum()),
        "seconds": round(seconds * passes[epsilon] / total if total else seconds / len(passes), 3),
    }


def _total_passes(arrays: Arrays, epsilon: float) -> int:
    return int(arrays[f"{epsilon:g}/forwards"].sum() + arrays[f"{epsilon:g}/backwards"].sum())
