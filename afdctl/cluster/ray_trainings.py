"""The trainings of a grid as tasks of Ray.

A task may be repeated because it only makes a named run exist. Of what it returns, nothing is kept: the runs are the
result.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from afdctl import recipe
from afdctl.cluster.cells import FAILED, STOPPED, CellRun, Outcome
from afdctl.cluster.ray_cluster import RayCluster, last_line
from afdctl.cluster.worker import Task, run_task

# A training saves within this time after it was cancelled.
SAVE_SECONDS: Final = 120.0


class RayTrainings:
    """The trainings of one driver."""

    def __init__(self, cluster: RayCluster, *, device: str | None, data_dir: Path | None) -> None:
        self.cluster = cluster
        # Ray shows a task no GPU but its own
        self.device = ("cuda" if cluster.gpus else "cpu") if device in (None, "auto") else device
        self.data_dir = str(data_dir.resolve()) if data_dir else None
        self.cells: dict[Any, CellRun] = {}
        self._task = cluster.task(run_task)

    def submit(self, cell: CellRun) -> None:
        task = Task(
            path=str(cell.run.path.resolve()),
            recipe=recipe.dump(cell.cell.recipe),
            digest=cell.cell.digest,
            token=str(self.cluster.token),
            device=self.device,
            data_dir=self.data_dir,
            threads=self.cluster.threads,
        )
        self.cells[self._task.remote(task)] = cell

    def ended(self, seconds: float) -> Iterator[tuple[CellRun, Outcome]]:
        """Yield the cells whose task has ended, after at most `seconds`."""
        for reference in self.cluster.wait(list(self.cells), seconds):
            yield self.cells.pop(reference), self._outcome(reference)

    def cancel(self) -> None:
        """Stop all tasks, and wait until the running trainings are saved."""
        self.cluster.cancel(self.cells, SAVE_SECONDS)

    def _outcome(self, reference: Any) -> Outcome:
        errors = self.cluster.ray.exceptions
        try:
            outcome: Outcome = self.cluster.ray.get(reference)
        except errors.TaskCancelledError:
            return Outcome(STOPPED, 130, "cancelled")
        except errors.RayError as error:
            return Outcome(FAILED, 1, f"{type(error).__name__}: {last_line(error)}")
        return outcome
