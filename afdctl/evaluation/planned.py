"""What is left to do of a plan, and what of it does not count: its tasks beside the rows that its runs hold."""

from collections.abc import Sequence

from afdctl.evaluation.partial_results import Rows, finished_cells
from afdctl.evaluation.plan import Task
from afdctl.evaluation.target import EvaluationTarget, missing_checks
from afdctl.journal import JournalCache, Row, drop_superseded
from afdctl.runs.cells import hidden, returning, shown_curves
from afdctl.runs.run import Run


class Planned:
    """Tasks, and in `rows` those of their cells that are there, with adversarial images where `save_images` wants them.

    `tasks` are those given, in batches that the memory has room for: their keys are of what was really done.
    """

    def __init__(self, tasks: Sequence[Task], save_images: bool) -> None:
        self.tasks, self.save_images = list(tasks), save_images
        self.readers = {name: JournalCache(run.journal_path) for name, run in self.targets.items()}
        self.rows: Rows = {}

    @property
    def subjects(self) -> dict[str, EvaluationTarget]:
        return {target.name: target for task in self.tasks for target in task.targets}

    @property
    def targets(self) -> dict[str, Run]:
        return {name: subject.run for name, subject in self.subjects.items()}

    def left(self) -> list[Task]:
        """The tasks with the epsilons that some target has no cell for; `rows` gets the cells that are there."""
        for name, run in self.targets.items():
            cells = finished_cells(run, self.readers[name].of_event("cell"), with_images=self.save_images)
            self.rows |= {(name, key): row for key, row in cells.items()}
        self.tasks = [self.begun(task) for task in self.tasks]
        return [left for task in self.tasks if (left := task.left(self.missing(task)))]

    def begun(self, task: Task) -> Task:
        """The task in its batches, or in those of a half, a quarter, ... of them where more of its cells are there.

        Where the memory was too small for the large ones, they would only fill it once more.
        """
        if not task.spec.batch_dependent or not task.batch_size or not self.missing(task):
            return task
        halvings = [task.in_batches(task.batch_size >> times) for times in range(task.batch_size.bit_length())]
        return min(halvings, key=lambda one: len(self.missing(one)))

    def missing(self, task: Task) -> list[float]:
        return [
            epsilon
            for epsilon in task.epsilons
            if any((target.name, task.key(target, epsilon)) not in self.rows for target in task.targets)
        ]

    def finished(self, name: str) -> list[Row]:
        """The cells of this plan that a target has, as the plan calls them: they may be from another suite."""
        return [
            self.rows[name, cell["key"]]
            | {"attack": cell["attack"], "suite": task.suite, "changed": list(task.changed)}
            for task in self.tasks
            for cell in task.cells()
            if cell["run"] == name and (name, cell["key"]) in self.rows
        ]

    def checks(self, name: str) -> list[Row]:
        """The checks that a target's journal lacks: of its network, and of those whose images it judges."""
        of_target = [task for task in self.tasks if any(target.name == name for target in task.targets)]
        return missing_checks([self.subjects[name], *(task.source for task in of_target)], self.readers[name])

    def returning(self, name: str) -> list[Row]:
        """The finished cells of a target that take the place of others once they are written again."""
        return returning(drop_superseded(self.readers[name].rows), self.finished(name))

    def hidden(self) -> list[tuple[str, Row, Row]]:
        """Run, a finished cell, and one of those that tables, figures and results.h5 show in its curve's place."""
        found = []
        for name, reader in self.readers.items():
            reader.of_event("cell")
            rows = drop_superseded(reader.rows)
            shown = shown_curves(rows)
            for row in hidden(rows, self.finished(name)):
                found += [(name, row, curve[0]) for curve in [shown.get((row["attack"], row["source"]))] if curve]
        return found
