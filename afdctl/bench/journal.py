"""What it costs to write a step down."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from afdctl.defenses.base import Report
from afdctl.recipe import Recipe, dump
from afdctl.store import results
from afdctl.store.run import Run
from afdctl.train.meter import Meter


def seconds_a_step(recipe: Recipe, report: Report, steps: int) -> float:
    """Journal and results.h5 for each step of an epoch of `steps` steps, flushed as the loop flushes."""
    with TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "bench", dump(recipe), {})
        with run.open_journal() as journal:
            meter = Meter()
            began = time.perf_counter()
            for step in range(1, steps + 1):
                meter.add({"event": "step", "step": step, "epoch": 1}, recipe.train.batch_size, report)
                if len(meter) >= recipe.train.report_every:
                    journal.extend(meter.flush())
            journal.extend(meter.flush())
            journal.sync()
            results.build(run)
            return (time.perf_counter() - began) / steps
