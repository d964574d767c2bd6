"""`afdctl train --grid --ray`: the trainings of a grid as tasks of Ray, with their progress."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from afdctl.cli.grid_report import GridReport, stopped
from afdctl.cli.train_options import TrainOptions
from afdctl.cli.watch_folder import REFRESH_SECONDS, Changes, RunFolder
from afdctl.errors import StoppedError

if TYPE_CHECKING:
    from afdctl.cluster.cells import CellRun


def train_on_ray(batches: Callable[[int], Iterable[Sequence["CellRun"]]], total: int, options: TrainOptions) -> None:
    """Make every cell's run exist in tasks of Ray; a signal here saves and stops all of them.

    `batches` returns the cells for so many tasks at once; all of a batch exist before the next one is asked for.
    """
    from afdctl import interrupts
    from afdctl.cluster.cells import end_of
    from afdctl.cluster.ray_cluster import connect, format_resources
    from afdctl.cluster.ray_trainings import RayTrainings

    labels: dict[str, str] = {}
    report = GridReport(total, as_json=options.json)
    changes = Changes(RunFolder(options.runs, labels), labels)
    # an exception of a signal handler would be lost in Ray's C code, so signals are requests
    with (
        interrupts.catch_signals() as early,
        connect(
            options.ray or "",
            options.runs,
            cpus=options.cpus_per_task or 1.0,
            gpus=options.gpus_per_task,
            device=options.device,
        ) as cluster,
        # again: Ray has installed a handler of its own, which ends the process
        interrupts.catch_signals() as requests,
    ):
        trainings = RayTrainings(cluster, device=options.device, data_dir=options.data_dir)
        each = format_resources(cluster.cpus, cluster.gpus)
        typer.echo(f"{report.opening(options.runs)}, {each} for each task", err=True)
        try:
            early.raise_if_stopped("")
            for cells in batches(cluster.slots):
                labels |= {cell.run.name: str(cell.cell) for cell in cells}
                for cell in cells:
                    if end := end_of(cell.run):
                        report.end(cell, end)
                    else:
                        trainings.submit(cell)
                while trainings.cells:
                    requests.raise_if_stopped("")
                    for cell, outcome in trainings.ended(REFRESH_SECONDS):
                        report.end(cell, outcome)
                    for line in changes.new():
                        typer.echo(line, err=True)
        except StoppedError as error:
            with interrupts.signals_blocked():
                trainings.cancel()
            raise stopped(error, report) from None
    report.close()
