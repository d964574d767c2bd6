"""Run a plan batch by batch, saving as it goes, so that a killed sweep resumes where it was."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from afdctl.errors import AfdctlError, StoppedError, out_of_memory
from afdctl.evaluation import surrogates
from afdctl.evaluation.batch import PreparedModel
from afdctl.evaluation.batches import Batch, Executor, InProcess
from afdctl.evaluation.cells import PartialResults, PartialResultStore, PlannedCells, Rows, cell_row
from afdctl.evaluation.faults import check_some_valid
from afdctl.evaluation.plan import Task
from afdctl.interrupts import RESUME_HINT, StopRequests, catch_signals
from afdctl.journal import Journal, Row
from afdctl.runs import results_file, shards
from afdctl.runs.curves import fault_warnings

# the most work that a kill costs, besides the current batch
BLOCK_SECONDS = 20.0
# how often the journal, which a dashboard reads, gets a `sweep_progress` event
PROGRESS_SECONDS = 2.0

OnRow = Callable[[Row], None]


class SweepRunner:
    """Runs the tasks of a plan. `on_row` receives every row that goes into a journal, with the name of its run.

    `executor` attacks the batches; results are the same whichever does.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        suite: str,
        batch_size: int,
        save_images: bool = False,
        on_row: OnRow = lambda row: None,
    ) -> None:
        self.cells = PlannedCells([task.with_batch_size(batch_size) for task in tasks], save_images)
        self.suite, self.batch_size, self.save_images, self.on_row = suite, batch_size, save_images, on_row
        self.executor: Executor = InProcess(keep_images=save_images)
        self.requests = StopRequests()
        self.stored_blocks = PartialResultStore(self.cells.readers, save_images)
        self.builders = {name: results_file.PeriodicBuilder(run) for name, run in self.cells.runs.items()}
        self.journals: dict[str, Journal] = {}
        self.next_progress = self.batch_started = 0.0
        # the tasks after the current one
        self.later: Sequence[Task] = ()

    def run(self) -> Rows:
        """Measure the missing cells; return the row of every cell. Errors: StoppedError, BusyError, DiskFullError."""
        cells = self.cells
        # without the lock, so that finished results can be printed while another process writes the run
        if not cells.pending_tasks() and not any(
            cells.missing_checks(name) or cells.rows_to_rewrite(name) for name in cells.runs
        ):
            for run in cells.runs.values():
                results_file.refresh(run)
            return cells.rows
        with ExitStack() as stack:
            for name, run in cells.runs.items():
                self.journals[name] = stack.enter_context(run.open_journal())
            self.requests = stack.enter_context(catch_signals())
            stack.enter_context(self._log_end())
            # read the journals again: another sweep may have written until they were locked
            pending = cells.pending_tasks()
            self._write_plan()
            for name in cells.runs:
                self.journals[name].extend(cells.rows_to_rewrite(name))
            for task in cells.tasks:
                if not cells.missing_epsilons(task):
                    self.stored_blocks.clear(task)
            for number, task in enumerate(pending, 1):
                self.later = pending[number:]
                # not after the last task, as the end of the sweep builds too
                for builder in self.builders.values() if number > 1 else ():
                    builder.build_if_due()
                self.run_task(task)
        return cells.rows

    def run_task(self, task: Task) -> None:
        """Run a task to its cells, from its first sample or from where an earlier sweep stopped."""
        results = self.stored_blocks.recover(task)
        check = partial(self.between_passes, task, results)
        self.report_progress(task, results)
        saved = self.batch_started = time.monotonic()
        if task.spec.distils:
            model = PreparedModel(task.source.network, lambda: check(0), task.precision)
            surrogates.make_exist(task, model, partial(self.append, task.source.name))
            results.seconds += time.monotonic() - self.batch_started
        while results.done < task.n:
            self.batch_started = time.monotonic()
            try:
                attacked = self.executor.attack(self.batches(task, results.done), check)
            except AfdctlError:
                # a signal, or a user's attack that fails
                self.save_block(task, results)
                raise
            except Exception as error:
                if not out_of_memory(error):
                    raise
                attacked = None
            if attacked is None:
                # outside of `except` nothing refers to the error, whose frames hold the memory of the attempt
                self.run_in_smaller_batches(task, results)
                return
            for target_blocks, block in zip(results.blocks, attacked.blocks, strict=True):
                target_blocks.append(block)
            if not results.done:
                check_some_valid(task.spec, attacked.blocks[0])
            results.done += len(attacked.blocks[0]["label"])
            results.seconds += attacked.seconds
            if time.monotonic() - saved > BLOCK_SECONDS and results.done < task.n:
                self.save_block(task, results)
                saved = time.monotonic()
            self.report_progress(task, results)
        self.finish_task(task, results)

    def batches(self, task: Task, first: int) -> Iterator[Batch]:
        """Yield the batches of a task from image `first` on, then those of the tasks after it."""
        for current in (task, *self.later):
            # the surrogate of a later task is not made yet
            if current.spec.distils and current is not task:
                return
            size = self._batch_size(current)
            for start in range(first if current is task else 0, current.n, size):
                yield Batch(current, start, size)

    def run_in_smaller_batches(self, task: Task, results: PartialResults) -> None:
        """Run the task in batches of half the size, after memory ran out.

        A task whose result depends on the batch size becomes another task, and starts over. Error: AfdctlError where a
        single image was too much.
        """
        size = self._batch_size(task)
        if not task.spec.batch_dependent:
            self.save_block(task, results)
        if size == 1:
            raise AfdctlError("the memory is too small for a single image")
        for target in task.targets:
            message = f"the memory is full: {task.spec.title} is attacked in batches of {size // 2}"
            self.append(target.name, "warning", message=message)
        if task.spec.batch_dependent:
            self.stored_blocks.clear(task)
            self.cells.tasks = [
                planned.with_batch_size(size // 2) if planned.identity == task.identity else planned
                for planned in self.cells.tasks
            ]
            pending = [planned for planned in self.cells.pending_tasks() if planned.identity == task.identity]
            self._write_plan()
        else:
            self.batch_size, pending = size // 2, [task]
        for smaller in pending:
            self.run_task(smaller)

    def finish_task(self, task: Task, results: PartialResults) -> None:
        """Write the shard and the cells of each target, then remove the stored blocks.

        All cells of an attack are one write, and blocks are kept until every target has its cells.
        """
        check_some_valid(task.spec, results.arrays(0))
        for number, target in enumerate(task.targets):
            arrays = results.arrays(number)
            shard = shards.write(target.run, f"{task.spec.title}-{task.block_key[:8]}", arrays)
            storage = {"shard": shard, "images": self.save_images, "last": task.epsilons[-1]}
            rows = [
                cell_row(task, target, epsilon, arrays, seconds=results.seconds) | storage for epsilon in task.epsilons
            ]
            warnings = [{"event": "warning", "message": message} for message in fault_warnings(rows)]
            self.journals[target.name].extend([*rows, *warnings])
            # on the disk before the blocks are removed: a power cut must not lose both
            self.journals[target.name].sync()
            self.cells.rows |= {(target.name, row["key"]): row for row in rows}
            for row in [*rows, *warnings]:
                self.on_row(row | {"run": target.name})
        self.stored_blocks.clear(task)

    def save_block(self, task: Task, results: PartialResults) -> None:
        """Store the samples that no stored block has yet."""
        for name, fields in self.stored_blocks.write(task, results):
            self.append(name, "sweep_block", **self.row_labels(task), **fields)
            self.journals[name].sync()

    def report_progress(self, task: Task, results: PartialResults, **batch: Any) -> None:
        """Send progress to `on_row`, and every two seconds to the journals; `batch` has fields on the current batch."""
        to_journal = time.monotonic() > self.next_progress
        for number, target in enumerate(task.targets):
            row = self.row_labels(task) | results.summary(number, task) | batch
            if to_journal:
                self.append(target.name, "sweep_progress", **row)
                self.next_progress = time.monotonic() + PROGRESS_SECONDS
            else:
                self.on_row({"event": "sweep_progress", "run": target.name, **row})

    def row_labels(self, task: Task) -> dict[str, Any]:
        source = task.source.name if task.transfers else None
        return {"attack": task.spec.title, "norm": task.spec.norm, "source": source}

    def append(self, name: str, event: str, **fields: Any) -> None:
        """Write a row into a run's journal."""
        row = {"event": event, **fields}
        self.journals[name].append(**row)
        self.on_row(row | {"run": name})

    def between_passes(self, task: Task, results: PartialResults, passes: int) -> None:
        """Raise StoppedError where a signal asked to stop; report progress within a batch."""
        self.requests.raise_if_stopped(RESUME_HINT)
        # a batch of AutoAttack takes minutes on a CPU
        if time.monotonic() > self.next_progress:
            seconds = results.seconds + time.monotonic() - self.batch_started
            counted = {"passes": passes} if passes else {}
            self.report_progress(task, results, seconds=round(seconds, 3), **counted)

    def _batch_size(self, task: Task) -> int:
        return task.batch_size if task.spec.batch_dependent and task.batch_size else self.batch_size

    def _write_plan(self) -> None:
        """Write each run's missing checks, then the plan and which of its cells are done."""
        for name, target in self.cells.targets.items():
            self.journals[name].extend(self.cells.missing_checks(name))
            tasks = [task for task in self.cells.tasks if target in task.targets]
            cells = [cell for task in tasks for cell in task.cells() if cell["run"] == name]
            done = [cell["key"] for cell in cells if (name, cell["key"]) in self.cells.rows]
            # of the run's own tasks: the data set of another run has another number of images
            subset, seed = tasks[0].subset, tasks[0].seed
            images = {"subset": subset.rule, "n": subset.n, "split_n": subset.split_n}
            self.append(name, "sweep", suite=self.suite, **images, seed=seed, cells=cells, done=done)

    @contextmanager
    def _log_end(self) -> Iterator[None]:
        """Write how the sweep ended into each journal, and build results.h5."""
        try:
            yield
        except BaseException as error:
            code = error.exit_code if isinstance(error, AfdctlError) else 1
            # the user must see what ended the sweep, also where these last rows do not fit on the disk
            with suppress(AfdctlError, OSError):
                self._end("stopped" if isinstance(error, StoppedError) else "failed", code)
            raise
        self._end("finished", 0)

    def _end(self, reason: str, exit_code: int) -> None:
        for name, run in self.cells.runs.items():
            self.append(name, "sweep_end", reason=reason, exit_code=exit_code)
            results_file.build(run)
