"""The options of `--ray`, and what attacks batches there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from afdctl import interrupts
from afdctl.cli.options import MOST, number
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from afdctl.cluster.ray_batches import RayBatches
    from afdctl.evaluation.batches import Executor
    from afdctl.evaluation.plan import Task

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work in tasks of Ray: `local` on this machine, or a cluster: HOST:PORT, or `auto`.",
    ),
]
Cpus = Annotated[
    float | None,
    typer.Option(
        parser=number(0.01, MOST),
        metavar="N",
        help="CPUs of each task of --ray, and its threads; default: 1.",
        show_default=False,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        parser=number(0, MOST),
        metavar="N",
        help="GPUs of each task of --ray, such as 0.5; default: 1, if any.",
        show_default=False,
    ),
]


class RayOptions(Protocol):
    """Options of a command with --ray."""

    @property
    def ray(self) -> str | None: ...
    @property
    def cpus_per_task(self) -> float | None: ...
    @property
    def gpus_per_task(self) -> float | None: ...
    @property
    def device(self) -> str | None: ...


def check_task_size(options: RayOptions) -> None:
    """Raise RecipeError for the size of a task without --ray."""
    for name in ("cpus_per_task", "gpus_per_task"):
        if options.ray is None and getattr(options, name) is not None:
            raise RecipeError(f"--{name.replace('_', '-')}: needs --ray ADDRESS")


def check_ray(options: RayOptions) -> None:
    """Raise RecipeError for options that contradict each other, and for an address that cannot be reached."""
    check_task_size(options)
    if options.ray is None:
        return
    if options.device not in (None, "auto", "cpu", "cuda"):
        raise RecipeError(f"--device {options.device}: Ray chooses the GPU of each task; write --device cuda, or cpu")
    from afdctl.cluster.ray_cluster import check_address

    check_address(options.ray)


@contextmanager
def batches_on_ray(
    options: RayOptions,
    root: Path,
    device: "torch.device",
    plan: "Callable[[], Sequence[Task]]",
    make_executor: "Callable[[], Executor]",
) -> "Iterator[tuple[RayBatches, interrupts.StopRequests]]":
    """Yield what attacks batches, for runs in the folder `root`, and signals so far; a node makes the tasks by `plan`.

    Signals within the work of a run are its own.
    """
    from afdctl.cluster.ray_batches import RayBatches
    from afdctl.cluster.ray_cluster import connect

    gpus = options.gpus_per_task
    if gpus is not None and (gpus > 0) != (device.type == "cuda"):
        # a key can hold the kind of device, and so can the batch size
        raise RecipeError(f"--gpus-per-task {gpus:g}: tasks compute on this machine's kind of device, {device.type}")
    # an exception of a signal handler would be lost in Ray's C code, so signals are requests
    with (
        interrupts.catch_signals() as requests,
        connect(options.ray or "", root, cpus=options.cpus_per_task or 1.0, gpus=gpus, device=device.type) as cluster,
    ):
        requests.raise_if_stopped(interrupts.RESUME_HINT)
        yield RayBatches(cluster, plan, make_executor), requests
