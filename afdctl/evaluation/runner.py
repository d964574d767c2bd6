"""Carries a plan out: batch by batch, saved as it goes, so that a killed sweep goes on where it was."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from afdctl.attacks.base import Model
from afdctl.data.loader import as_floats
from afdctl.errors import AfdctlError, StoppedError, out_of_memory
from afdctl.evaluation.batch import attack_batch, prepare_model
from afdctl.evaluation.partial_results import PartialResults, PartialResultStore, Rows, cell
from afdctl.evaluation.plan import Task
from afdctl.evaluation.planned import Planned
from afdctl.interrupts import RESUME_HINT, StopRequests, catch_signals
from afdctl.journal import Journal, Row
from afdctl.runs import results_file, shards
from afdctl.runs.shards import Arrays

PART_SECONDS = 20.0
"""How much work a kill may cost, apart from the batch at hand."""

PROGRESS_SECONDS = 2.0

OnRow = Callable[[Row], None]


class SweepRunner(Planned):
    """A plan at work. Every row that it writes into a journal also goes to `on_row`, with the name of its run."""

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        suite: str,
        batch_size: int,
        save_images: bool = False,
        on_row: OnRow = lambda row: None,
    ) -> None:
        super().__init__([task.in_batches(batch_size) for task in tasks], save_images)
        self.suite, self.batch_size, self.on_row = suite, batch_size, on_row
        self.requests = StopRequests()
        self.parts = PartialResultStore(self.readers, save_images)
        self.builders = {name: results_file.PeriodicBuilder(run) for name, run in self.targets.items()}
        self.journals: dict[str, Journal] = {}
        self.progress_due = 0.0

    def run(self) -> Rows:
        """Do what is not done yet; returns the row of every cell. Errors: StoppedError, BusyError, DiskFullError."""
        if not self.left() and not any(self.checks(name) or self.returning(name) for name in self.targets):
            for run in self.targets.values():
                results_file.refresh(run)
            return self.rows
        with ExitStack() as stack:
            for name, run in self.targets.items():
                self.journals[name] = stack.enter_context(run.open_journal())
            self.requests = stack.enter_context(catch_signals())
            stack.enter_context(self.ending())
            left = self.left()  # anew: until the journals were open another sweep may have been at it
            self.announce()
            for name in self.targets:
                self.journals[name].extend(self.returning(name))
            for task in self.tasks:
                if not self.missing(task):
                    self.parts.clear(task)
            for task in left:
                self.do(task)
        return self.rows

    def announce(self) -> None:
        """Write the plan of each run and what of it is done, after the checks of its network."""
        for name in self.targets:
            self.journals[name].extend(self.checks(name))
            cells = [cell for task in self.tasks for cell in task.cells() if cell["run"] == name]
            done = [cell["key"] for cell in cells if (name, cell["key"]) in self.rows]
            n, seed = self.tasks[0].n, self.tasks[0].seed
            self.write(name, "sweep", suite=self.suite, n=n, seed=seed, cells=cells, done=done)

    def do(self, task: Task) -> None:
        """One task from its first sample, or from where an earlier sweep was killed, to its cells."""
        progress = self.parts.recover(task)
        network = task.source.network
        model = prepare_model(network, self.obey, task.precision)
        exact = None if task.precision == "float32" else prepare_model(network, self.obey)
        self.show(task, progress)
        began = saved = time.monotonic()
        earlier = progress.seconds
        while progress.done < task.n:
            try:
                blocks = self.next_blocks(task, model, exact, progress.done)
            except StoppedError:
                self.save_part(task, progress)
                raise
            except Exception as error:
                if not out_of_memory(error):
                    raise
                blocks = []
            if not blocks:
                # out here nothing refers to the error, whose frames hold the memory of what was tried
                self.do_in_smaller_batches(task, progress)
                return
            for target, block in enumerate(blocks):
                progress.blocks[target].append(block)
            progress.done += len(blocks[0]["label"])
            progress.seconds = earlier + time.monotonic() - began
            if time.monotonic() - saved > PART_SECONDS and progress.done < task.n:
                self.save_part(task, progress)
                saved = time.monotonic()
            self.show(task, progress)
        self.finish(task, progress)

    def do_in_smaller_batches(self, task: Task, progress: PartialResults) -> None:
        """The task in batches of half the size; one whose result depends on that is another task, and starts again.

        Error: AfdctlError where it was a single image.
        """
        if not task.spec.batch_dependent:
            self.save_part(task, progress)
        size = self.batch_of(task)
        if size == 1:
            raise AfdctlError("the memory is too small for a single image")
        self.warn(task, f"the memory is full: {task.spec.title} is attacked in batches of {size // 2}")
        if task.spec.batch_dependent:
            self.parts.clear(task)
            self.tasks = [one.in_batches(size // 2) if one.name == task.name else one for one in self.tasks]
            left = [one for one in self.left() if one.name == task.name]
            self.announce()
        else:
            self.batch_size, left = size // 2, [task]
        for one in left:
            self.do(one)

    def batch_of(self, task: Task) -> int:
        """How many images of a task are attacked at once."""
        return task.batch_size if task.spec.batch_dependent and task.batch_size else self.batch_size

    def next_blocks(self, task: Task, model: Model, exact: Model | None, first: int) -> list[Arrays]:
        """Attack the next batch."""
        stop = min(first + self.batch_of(task), task.n)
        split = task.source.split
        x, y = as_floats(split.x[first:stop]), split.y[first:stop]
        return attack_batch(task, model, x, y, first, self.save_images, exact)

    def save_part(self, task: Task, progress: PartialResults) -> None:
        """Put the rows that no part holds yet into one."""
        for name, row in self.parts.write(task, progress):
            self.write(name, "sweep_part", **self.label(task), **row)
            self.journals[name].sync()

    def show(self, task: Task, progress: PartialResults) -> None:
        """Tell how far the task is; the journal, which a dashboard reads, hears of it every two seconds."""
        journal_too = time.monotonic() > self.progress_due
        for number, target in enumerate(task.targets):
            row = self.label(task) | progress.figures(number, task)
            if journal_too:
                self.write(target.name, "sweep_progress", **row)
                self.progress_due = time.monotonic() + PROGRESS_SECONDS
            else:
                self.on_row({"event": "sweep_progress", "run": target.name, **row})

    def finish(self, task: Task, progress: PartialResults) -> None:
        """Write the shard and the cells of each target, then clear the parts away.

        All cells of an attack are written at once, and parts are kept until every target has its cells.
        """
        for number, target in enumerate(task.targets):
            arrays = progress.arrays(number)
            shard = shards.write(target.run, f"{task.spec.title}-{task.parts_key[:8]}", arrays)
            more = {"shard": shard, "images": self.save_images, "last": task.epsilons[-1]}
            rows = [cell(task, target, epsilon, arrays, progress.seconds) | more for epsilon in task.epsilons]
            self.journals[target.name].extend(rows)
            self.journals[target.name].sync()
            self.rows |= {(target.name, row["key"]): row for row in rows}
            for row in rows:
                self.on_row(row | {"run": target.name})
        self.parts.clear(task)
        for target in task.targets:
            self.builders[target.name].build_if_due()

    def label(self, task: Task) -> dict[str, Any]:
        source = task.source.name if task.transfers else None
        return {"attack": task.spec.title, "norm": task.spec.norm, "source": source}

    def warn(self, task: Task, message: str) -> None:
        for target in task.targets:
            self.write(target.name, "warning", message=message)

    def write(self, name: str, event: str, **fields: Any) -> Row:
        row = {"event": event, **fields}
        self.journals[name].append(**row)
        self.on_row(row | {"run": name})
        return row

    def obey(self) -> None:
        """Leave where a signal asked for it; what is finished is saved."""
        self.requests.raise_if_stopped(RESUME_HINT)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever ends the sweep, each journal says so, and results.h5 with it."""
        try:
            yield
        except BaseException as error:
            code = error.exit_code if isinstance(error, AfdctlError) else 1
            # what ended it is what its user must know, also where its last words do not fit on the disk
            with suppress(AfdctlError, OSError):
                self.end("stopped" if isinstance(error, StoppedError) else "failed", code)
            raise
        self.end("finished", 0)

    def end(self, reason: str, exit_code: int) -> None:
        for name, run in self.targets.items():
            self.write(name, "sweep_end", reason=reason, exit_code=exit_code)
            results_file.build(run)
