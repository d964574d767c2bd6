"""The options of `--ray`, and what attacks the batches of a sweep there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from afdctl.cli.options import MOST
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from afdctl.evaluation.plan import Task
    from afdctl.evaluation.runner import SweepRunner

Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Work in tasks of Ray: `local` on this machine, or a cluster's HOST:PORT."),
]
Cpus = Annotated[float, typer.Option(min=0.01, max=MOST, help="CPUs of each task of --ray, and its threads.")]
Gpus = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=MOST,
        help="GPUs of each task of --ray, such as 0.5; default: 1, if any.",
        show_default=False,
    ),
]


class RayOptions(Protocol):
    """Options of a command with --ray."""

    @property
    def ray(self) -> str | None: ...
    @property
    def cpus_per_task(self) -> float: ...
    @property
    def gpus_per_task(self) -> float | None: ...
    @property
    def device(self) -> str | None: ...


def check_ray(options: RayOptions) -> None:
    """Raise RecipeError for options that contradict each other, and for an address that cannot be reached."""
    if options.ray is None:
        if options.gpus_per_task is not None:
            raise RecipeError("--gpus-per-task: goes with --ray")
        return
    if options.device not in (None, "auto", "cpu", "cuda"):
        raise RecipeError(f"--device {options.device}: Ray chooses the GPU of each task; write --device cuda, or cpu")
    from afdctl.cluster.ray_cluster import check_address

    check_address(options.ray)


@contextmanager
def batches_on_ray(
    runner: "SweepRunner", options: RayOptions, device: "torch.device", plan: "Callable[[], Sequence[Task]]"
) -> Iterator[int]:
    """Let Ray attack a sweep's batches in the block, and yield how many at once; `plan` makes its tasks on a node."""
    from afdctl import interrupts
    from afdctl.cluster.ray_batches import RayBatches
    from afdctl.cluster.ray_cluster import connect

    gpus = options.gpus_per_task
    if gpus is not None and (gpus > 0) != (device.type == "cuda"):
        # a key can hold the kind of device, and so can the batch size
        raise RecipeError(f"--gpus-per-task {gpus:g}: tasks compute on this machine's kind of device, {device.type}")
    root: Path = next(iter(runner.cells.runs.values())).path.parent
    # an exception of a signal handler would be lost in Ray's C code, so signals are requests
    with (
        interrupts.catch_signals() as requests,
        connect(options.ray or "", root, cpus=options.cpus_per_task, gpus=gpus, device=device.type) as cluster,
    ):
        requests.raise_if_stopped(interrupts.RESUME_HINT)
        runner.executor = RayBatches(cluster, plan, keep_images=runner.save_images)
        yield cluster.slots
