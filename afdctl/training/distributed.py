"""One training on several processes, started by torchrun or `afdctl train --nproc`.

Every process holds the whole network and takes its part of each batch; `allreduce` sums their gradients. The first
process alone writes the run. All take the same decisions at the same steps, so none waits for a message that never
comes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import torch
from torch import distributed

from afdctl import allreduce
from afdctl.defenses.base import Defense
from afdctl.errors import AfdctlError, DivergedError, RecipeError, SilentError, StoppedError
from afdctl.journal.writing_process import boot_id, host_name
from afdctl.recipe import Recipe

# A process waits this long for the others, which may write a checkpoint or attack a batch of a validation.
TIMEOUT: Final = timedelta(hours=1)
LOST: Final = "another process of this training has ended; what it printed, and the signal that ended it, say why"
# `--nproc` sets it for its processes, and says itself how one of them was ended; the others end with this code.
LAUNCHED: Final = "AFDCTL_NPROC"
LOST_CODE: Final = 79
# Ends that all processes agree on.
SHARED: Final = (StoppedError, DivergedError)
# Weights of all processes are equal to the bit on equal machines; GPUs of two kinds may round differently.
SAME: Final = 1e-6
SLURM_RESTARTS: Final = "SLURM_RESTART_COUNT"
SLURM_JOB: Final = "SLURM_JOB_ID"


@dataclass(frozen=True)
class Processes:
    """This process among the `size` of a training; `control` is the group for values of the host.

    `launchers` are the processes of torchrun that have started them, one on each node.
    """

    rank: int = 0
    size: int = 1
    control: Any = None
    launchers: tuple[str, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0

    def agree(self, *values: int) -> list[int]:
        """Return the largest of all processes' values, one by one; waits for all of them."""
        if self.size == 1:
            return list(values)
        agreed = torch.tensor(values)
        distributed.all_reduce(agreed, distributed.ReduceOp.MAX, group=self.control)
        return [int(value) for value in agreed]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of their ranks."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value, group=self.control)
        return values

    def from_first(self, value: Any) -> Any:
        """Return the first process's value."""
        return self.gather(value)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """End every process if one of them ends in the block with an AfdctlError, which one of them alone reports.

        Processes must not wait for each other inside the block.
        """
        error: AfdctlError | None = None
        try:
            yield
        except AfdctlError as caught:
            error = caught
        ends: list[int] = self.gather(error.exit_code if error else 0)
        if any(ends):
            failed = next(rank for rank, code in enumerate(ends) if code)
            raise error if error and failed == self.rank else SilentError(ends[failed])


ALONE: Final = Processes()


@contextmanager
def join(device_name: str | None) -> Iterator[tuple[Processes, str | None]]:
    """Join the processes that torchrun has started; yield them, and the name of this one's device.

    Alone, yields `device_name`. Error: RecipeError for more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" not in os.environ or size == 1:
        yield Processes(launchers=(_launcher(),)), device_name
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    try:
        on_gpu = uses_gpus(device_name, int(os.environ["LOCAL_WORLD_SIZE"]))
    except RecipeError as error:
        # once a machine
        raise error if local_rank == 0 else SilentError(error.exit_code) from None
    if on_gpu:
        torch.cuda.set_device(local_rank)
    _connect("nccl" if on_gpu else "gloo")
    control = distributed.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None
    try:
        with allreduce.over_processes(size):
            processes = Processes(rank=distributed.get_rank(), size=size, control=control)
            launchers = tuple(sorted(set(processes.gather(_launcher()))))
            yield replace(processes, launchers=launchers), f"cuda:{local_rank}" if on_gpu else "cpu"
    except AfdctlError as error:
        # not left in order: a process that waits for this one would wait for the time-out
        if is_lost(error.__cause__) and LAUNCHED in os.environ:
            raise SilentError(LOST_CODE) from error
        if os.environ["RANK"] != "0" and (isinstance(error, SHARED) or is_lost(error.__cause__)):
            raise SilentError(error.exit_code) from error
        raise
    distributed.destroy_process_group()


def _connect(backend: str) -> None:
    """Join the default group. Error: AfdctlError if another process cannot be reached."""
    store, rank, size = next(distributed.rendezvous("env://", timeout=TIMEOUT))  # type: ignore[attr-defined]
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        # torchrun keeps its store after a restart, with the addresses of the processes that have ended. Counts of
        # restarts may differ between nodes.
        store = distributed.PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)  # type: ignore[attr-defined]
    try:
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise AfdctlError(f"the processes of this training cannot reach each other: {reason}") from error


def uses_gpus(device_name: str | None, processes: int) -> bool:
    """Return whether the processes on this machine take a GPU each. Error: RecipeError if there are too few."""
    name, gpus = device_name or "auto", torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not gpus):
        return False
    if name not in ("auto", "cuda"):
        raise RecipeError(f"--device {name}: several processes take a GPU each; write --device cuda, or cpu")
    if processes > gpus:
        has = f"{gpus} GPU{'' if gpus == 1 else 's'}" if gpus else "no GPU"
        raise RecipeError(f"{processes} processes: this machine has {has}; start fewer, or add --device cpu")
    return True


def check_batch(recipe: Recipe, processes: int, *, resumes: bool = False) -> None:
    """Raise RecipeError if the recipe's batch, which all processes share, cannot be divided among them."""
    batch = recipe.train.batch_size
    if processes > 1 and (batch % processes or batch < 2 * processes):
        # a resumed run keeps its recipe, and a larger batch would be another training
        fits = not resumes and batch >= 2 * processes
        other_batch = f", or --set train.batch_size={batch - batch % processes}" if fits else ""
        raise RecipeError(
            f"train.batch_size = {batch}: cannot be divided among {processes} processes in parts of at least two "
            f"images; use another number of processes{other_batch}"
        )


def check_same_weights(processes: Processes, defense: Defense) -> None:
    """Raise RecipeError if the processes' weights differ, as they do after steps without `apply_gradients`."""
    if processes.size == 1:
        return
    weights = [weight.detach().double().sum() for part in defense.modules.values() for weight in part.parameters()]
    (own,) = torch.stack(weights).sum().view(1).tolist()
    # NaN equals nothing; diverged weights have a message of their own
    if any(abs(other - own) > SAME * max(1.0, abs(own)) for other in processes.gather(own)):
        error = RecipeError(
            f"defense {defense.table.name}: the processes' weights differ; move weights with step_classifier(), or "
            "with apply_gradients() of afdctl.defenses.base, which combine the gradients of all processes"
        )
        raise error if processes.is_first else SilentError(error.exit_code)


def size_warning(state: Mapping[str, Any], processes: Processes) -> list[str]:
    """Return a warning if a checkpoint's state is of another number of processes."""
    before, now = len(state["rng"]), processes.size
    return [f"{before} processes before, {now} now: the training continues, but not to the bit"] * (before != now)


def launch(processes: Processes) -> dict[str, Any]:
    """Return what run.json records: the number of several processes, and what has started them."""
    number = {"processes": processes.size} if processes.size > 1 else {}
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    started = {"id": name, "launchers": list(processes.launchers), "slurm_job": os.environ.get(SLURM_JOB)}
    return number | ({"launch": started} if name else {})


def is_restart() -> bool:
    """Whether torchrun or Slurm has started these processes again after they ended."""
    return any(map(_is_counted, ("TORCHELASTIC_RESTART_COUNT", SLURM_RESTARTS)))


def is_of_launch(recorded: Any, processes: Processes) -> bool:
    """Whether a run's recorded `launch` is that of these processes, before they were started again."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if not isinstance(recorded, dict) or recorded["id"] != name:
        return False
    # An id may be used again, but not a launcher. Of several nodes, one that failed may have been replaced. A job that
    # Slurm starts again has other launchers.
    job = recorded.get("slurm_job")
    is_same_job = _is_counted(SLURM_RESTARTS) and job is not None and job == os.environ.get(SLURM_JOB)
    return is_same_job or not set(processes.launchers).isdisjoint(recorded["launchers"])


def _is_counted(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def _launcher() -> str:
    return f"{host_name()} {boot_id()} {os.getppid()}"


def is_lost(error: BaseException | None) -> bool:
    """Whether an exception of a collective means that another process has ended."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)
