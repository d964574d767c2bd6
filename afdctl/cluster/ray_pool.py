"""`--ray`: the trainings of a grid as tasks of Ray, here or on a cluster.

Ray decides where and when a task runs, and repeats it when its worker or node dies. That is safe because a task only
makes a named run exist. Of what it returns, nothing is kept: the runs are the result.
"""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import afdctl
from afdctl import recipe
from afdctl.cluster.cells import FAILED, STOPPED, CellRun, Outcome
from afdctl.cluster.worker import Task, inspect_node, run_task, unseen
from afdctl.errors import RecipeError, file_errors
from afdctl.formatting import shorten

LOCAL, AUTO = "local", "auto"
# How often Ray repeats a task whose worker has died, as by a full memory.
RETRIES: Final = 5
CONNECT_SECONDS: Final = 5.0
NODE_SECONDS: Final = 600.0
# A training saves within this time after it was cancelled.
SAVE_SECONDS: Final = 120.0


class RayPool:
    """The tasks of one driver, with `cpus` and `gpus` each."""

    def __init__(self, ray: Any, *, cpus: float, gpus: float, token: Path) -> None:
        self.ray, self.cpus, self.gpus, self.token = ray, cpus, gpus, token
        self.cells: dict[Any, CellRun] = {}
        self._task = ray.remote(run_task).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)

    def submit(self, cell: CellRun, *, device: str | None, data_dir: Path | None) -> None:
        task = Task(
            path=str(cell.run.path.resolve()),
            recipe=recipe.dump(cell.cell.recipe),
            digest=cell.cell.digest,
            token=str(self.token),
            # Ray shows the task no GPU but its own
            device=("cuda" if self.gpus else "cpu") if device in (None, "auto") else device,
            data_dir=str(data_dir.resolve()) if data_dir else None,
            threads=max(1, int(self.cpus)),
        )
        self.cells[self._task.remote(task)] = cell

    def ended(self, seconds: float) -> Iterator[tuple[CellRun, Outcome]]:
        """Yield the cells whose task has ended, after at most `seconds`."""
        done, _ = self.ray.wait(list(self.cells), timeout=seconds)
        for reference in done:
            yield self.cells.pop(reference), self._outcome(reference)

    def cancel(self) -> None:
        """Stop all tasks, and wait until the running trainings are saved."""
        for reference in self.cells:
            self.ray.cancel(reference, force=False)
        self.ray.wait(list(self.cells), num_returns=len(self.cells), timeout=SAVE_SECONDS)

    def _outcome(self, reference: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(reference)
        except errors.TaskCancelledError:
            return Outcome(STOPPED, 130, "cancelled")
        except errors.RayError as error:
            return Outcome(FAILED, 1, f"{type(error).__name__}: {last_line(error)}")
        return outcome


@contextmanager
def connect(address: str, root: Path, *, cpus: float, gpus: float | None, device: str | None) -> Iterator[RayPool]:
    """Start Ray on this machine (`local`), or join the cluster at an address, and check its nodes.

    Errors: RecipeError for a missing Ray, an address that cannot be reached, a node that does not see the runs folder
    `root` or has another version, and for tasks that no node can take.
    """
    ray = _start(address)
    with file_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        token = root.resolve() / f".ray-{uuid4().hex}"
        token.touch()
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if gpus is None:
            gpus = 1.0 if device != "cpu" and any(node["Resources"].get("GPU") for node in nodes) else 0.0
        _check_resources(nodes, cpus, gpus)
        _check_nodes(ray, nodes, token)
        yield RayPool(ray, cpus=cpus, gpus=gpus, token=token)
    finally:
        with suppress(OSError):
            token.unlink()
        ray.shutdown()


def last_line(error: BaseException) -> str:
    """Return the last line of an error of Ray, whose text is a traceback that ends with the reason."""
    return shorten(str(error).strip().rpartition("\n")[2].strip())


def _start(address: str) -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise RecipeError(f"--ray {address}: needs Ray; pip install 'afdctl[cluster]'") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"include_dashboard": False}
        # Ray's default is 15: beside other work the trainings got 0.4 % of a core
        os.environ.setdefault("RAY_worker_niceness", "0")
    elif address != AUTO:
        _check_reachable(address)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RecipeError(f"--ray {address}: {reason}; start Ray with `ray start` on this machine too") from None
    return ray


def _check_reachable(address: str) -> None:
    """Raise RecipeError for an address that nothing answers at; Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise RecipeError(f"--ray {address}: must be local, auto or HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(
            f"--ray {address}: cannot be reached ({reason.lower()}); start it there with `ray start --head`"
        ) from None


def _check_resources(nodes: Iterable[Any], cpus: float, gpus: float) -> None:
    sizes = [(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in nodes]
    if not any(has_cpus >= cpus and has_gpus >= gpus for has_cpus, has_gpus in sizes):
        listed = ", ".join(f"{has_cpus:g} CPUs and {has_gpus:g} GPUs" for has_cpus, has_gpus in sorted(set(sizes)))
        raise RecipeError(
            f"--cpus-per-task {cpus:g} and --gpus-per-task {gpus:g}: no node has both; the nodes have {listed}"
        )


def _check_nodes(ray: Any, nodes: Sequence[Any], token: Path) -> None:
    """Run a task on every node that sees whether it has the runs folder and the same afdctl."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    inspect = ray.remote(inspect_node)
    found = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        found[node["NodeManagerAddress"]] = inspect.options(num_cpus=0, scheduling_strategy=where).remote(str(token))
    for address, reference in found.items():
        try:
            host, version, sees_runs = ray.get(reference, timeout=NODE_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise RecipeError(f"node {address} has not answered within {NODE_SECONDS:.0f} seconds") from None
        except ray.exceptions.RayError as error:
            raise RecipeError(
                f"node {address} cannot run afdctl ({last_line(error)}); install afdctl {afdctl.__version__} there"
            ) from None
        if not sees_runs:
            raise RecipeError(unseen(host, str(token)))
        if version != afdctl.__version__:
            raise RecipeError(f"node {host} has afdctl {version}; install {afdctl.__version__} there, as here")
