"""What the journals have of a plan: its finished cells, and partial results of its unfinished tasks.

Partial results are saved so that a kill costs seconds. A stored block is one shard with the rows of consecutive
samples, named by a `sweep_block` event.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afdctl.evaluation import known_checks
from afdctl.evaluation.faults import faults_in
from afdctl.evaluation.plan import Task
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import JournalCache, Row, drop_superseded
from afdctl.runs import selection, shards
from afdctl.runs.curves import RobustnessCurve, wilson
from afdctl.runs.run import Run
from afdctl.runs.selection import CurveKey
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
        self.readers = {name: JournalCache.of(run.journal_path) for name, run in self.runs.items()}
        self.rows: Rows = {}
        self.curves_before = {name: self._selected_curves(name) for name in self.runs}

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
        targets = [self.targets[name], *sources]
        return known_checks.missing([target.check for target in targets], self.readers[name])

    def rows_to_rewrite(self, name: str) -> list[Row]:
        """Return a run's finished cells that would count in place of others if they were written again."""
        return selection.rows_to_rewrite(drop_superseded(self.readers[name].rows), self.finished(name))

    def not_selected(self) -> list[tuple[str, Row, Row]]:
        """Return run, finished cell and a cell of the curve that counts in its place, for tables and results.h5."""
        replaced = []
        for name, reader in self.readers.items():
            curves = self._selected_curves(name)
            for row in selection.not_selected(drop_superseded(reader.rows), self.finished(name)):
                if curve := curves.get((row["attack"], row["source"])):
                    replaced.append((name, row, curve.cells[0]))
        return replaced

    def replaced_by_other_images(self) -> list[tuple[str, Row, Row]]:
        """Return run, cell that counted before this sweep, and the cell of other test images that counts now."""
        return [
            (name, old, new)
            for name, before in self.curves_before.items()
            for old, new in selection.replaced_by_other_images(
                _first_cells(before), _first_cells(self._selected_curves(name))
            )
        ]

    def _selected_curves(self, name: str) -> dict[CurveKey, RobustnessCurve]:
        """Read a run's journal and return the curves that count among those of this plan's checkpoint."""
        self.readers[name].of_event("cell")
        return selection.selected_curves(drop_superseded(self.readers[name].rows), self.targets[name].digest)

    def other_checkpoints(self) -> list[str]:
        """Return a line for each run of which tables show another checkpoint than this plan's."""
        digests = {name: target.digest for name, target in self.targets.items()}
        lines = {
            name: selection.describe_checkpoint_shown(drop_superseded(self.readers[name].rows), "cell", digest)
            for name, digest in digests.items()
        }
        return [f"{name}: {line}" for name, line in lines.items() if line]

    def _with_started_batch_size(self, task: Task) -> Task:
        """Return the task with its batch size halved as often as finds the most finished cells.

        An earlier sweep that ran out of memory used the smaller batches; the larger ones would only fail again.
        """
        if not task.spec.batch_dependent or not task.batch_size or not self.missing_epsilons(task):
            return task
        halvings = [task.with_batch_size(task.batch_size >> times) for times in range(task.batch_size.bit_length())]
        return min(halvings, key=lambda halved: len(self.missing_epsilons(halved)))


def _first_cells(curves: Mapping[CurveKey, RobustnessCurve]) -> dict[CurveKey, Row]:
    """Map each curve to one of its cells, which all have the same settings."""
    return {key: curve.cells[0] for key, curve in curves.items()}


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
        "subset": task.subset.rule,
        "n": task.n,
        "split_n": task.subset.split_n,
        "seed": task.seed,
        "precision": task.precision,
        "acc_nat": float((arrays["clean"] == arrays["label"]).mean()),
        "accuracy": robust / task.n,
        **wilson(robust, task.n)._asdict(),
        "forwards": int(arrays[f"{epsilon:g}/forwards"].sum()),
        "backwards": int(arrays[f"{epsilon:g}/backwards"].sum()),
        "seconds": round(seconds * passes[epsilon] / total if total else seconds / len(passes), 3),
        **({"faults": faults_in(arrays, epsilon)} if task.spec.user_attack else {}),
    }


def _total_passes(arrays: Arrays, epsilon: float) -> int:
    return int(arrays[f"{epsilon:g}/forwards"].sum() + arrays[f"{epsilon:g}/backwards"].sum())


@dataclass
class PartialResults:
    """The results of a task so far: blocks of samples for each target, and the seconds that they took.

    The first `saved` blocks are stored; each of the others holds one batch.
    """

    blocks: list[list[Arrays]]
    done: int = 0
    seconds: float = 0.0
    saved: int = 0

    def arrays(self, target: int) -> Arrays:
        """Join all blocks of a target."""
        return _join(self.blocks[target])

    def summary(self, target: int, task: Task) -> dict[str, Any]:
        """Return the number of finished samples, and the accuracy at each epsilon among them, if there are any."""
        accuracy = {}
        for epsilon in task.epsilons if self.done else ():
            column = f"{epsilon:g}/distance"
            robust = sum(int(np.isinf(block[column]).sum()) for block in self.blocks[target])
            accuracy[f"{epsilon:g}"] = robust / self.done
        return {"done": self.done, "n": task.n, "accuracy": accuracy, "seconds": round(self.seconds, 3)}


class PartialResultStore:
    """The blocks that the journals of some runs name, `readers` by run; with adversarial images, or without them."""

    def __init__(self, readers: Mapping[str, JournalCache], with_images: bool) -> None:
        self.readers, self.with_images = readers, with_images

    def recover(self, task: Task) -> PartialResults:
        """Load the consecutive blocks of a task, from its first sample on, that every target has intact."""
        results = PartialResults([[] for _ in task.targets])
        rows_by_first = [self._newest(task, target.name) for target in task.targets]
        while block_rows := [rows[results.done] for rows in rows_by_first if results.done in rows]:
            # a block counts only if every target has it, over the same samples
            if len(block_rows) < len(task.targets) or len({row["done"] for row in block_rows}) > 1:
                break
            pairs = list(zip(task.targets, block_rows, strict=True))
            if not all(shards.intact(target.run, row["shard"]) for target, row in pairs):
                break
            for blocks, (target, row) in zip(results.blocks, pairs, strict=True):
                blocks.append(shards.read(target.run, row["shard"]))
            results.saved += 1
            results.done, results.seconds = block_rows[0]["done"], block_rows[0]["seconds"]
        return results

    def write(self, task: Task, results: PartialResults) -> Iterator[tuple[str, Row]]:
        """Store the samples that no stored block has yet; yield each run and the fields of its `sweep_block` event."""
        saved = results.saved
        if len(results.blocks[0]) <= saved:
            return
        for number, (target, blocks) in enumerate(zip(task.targets, results.blocks, strict=True)):
            # the batches since the last stored block become one block
            blocks[saved:] = [_join(blocks[saved:])]
            first = results.done - len(blocks[saved]["label"])
            # before its row: the journal must never name a file that was not written
            shard = shards.write(target.run, f"block-{task.block_key}-{first:06d}", blocks[saved])
            fields = {"task": task.block_key, "first": first, "shard": shard, "images": self.with_images}
            yield target.name, fields | results.summary(number, task)
        results.saved += 1

    def clear(self, task: Task) -> None:
        """Remove the blocks of a task that will not be resumed."""
        for target in task.targets:
            for row in self._rows(task, target.name):
                # the rows stay in the journal; without its shard a block is ignored
                shards.remove(target.run, row["shard"])

    def _newest(self, task: Task, name: str) -> dict[int, Row]:
        """Map the first sample of a block to the newest block that begins there."""
        return {row["first"]: row for row in self._rows(task, name) if row["images"] == self.with_images}

    def _rows(self, task: Task, name: str) -> Iterable[Row]:
        """Read the rows of a run's blocks of a task, with and without images."""
        return (row for row in self.readers[name].of_event("sweep_block") if row["task"] == task.block_key)


def _join(blocks: list[Arrays]) -> Arrays:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
