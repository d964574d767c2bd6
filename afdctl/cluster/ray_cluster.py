"""`--ray`: start Ray on this machine or join a cluster, and check its nodes.

Ray decides where and when a task runs, and repeats it when its worker or node dies.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any, Final, TextIO
from uuid import uuid4

import afdctl
from afdctl.cluster.worker import inspect_node, unseen
from afdctl.errors import RecipeError, file_errors
from afdctl.formatting import shorten
from afdctl.runs.folders import DRIVER, leaving_no_empty_folder

LOCAL, AUTO = "local", "auto"
# How often Ray repeats a task whose worker has died, as by a full memory.
RETRIES: Final = 5
CONNECT_SECONDS: Final = 5.0
NODE_SECONDS: Final = 600.0


@dataclass(frozen=True)
class RayCluster:
    """The cluster of one driver, whose tasks take `cpus` and `gpus` each; nodes see the file `token`."""

    ray: Any
    cpus: float
    gpus: float
    token: Path

    @property
    def threads(self) -> int:
        """The threads of a task."""
        return max(1, int(self.cpus))

    @property
    def slots(self) -> int:
        """How many tasks run at once, at least 1."""
        return max(1, sum(_tasks_of(node, self.cpus, self.gpus) for node in _alive(self.ray)))

    def task(self, function: Callable[..., Any]) -> Any:
        """Return a function as a task, which Ray repeats when its worker or node dies."""
        return self.ray.remote(function).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Return those that are done, one of them at most, after at most `seconds`; renew the token."""
        with suppress(OSError):
            self.token.touch()
        done: list[Any] = self.ray.wait(list(references), timeout=seconds)[0]
        return done

    def cancel(self, references: Collection[Any], seconds: float) -> None:
        """Stop tasks, and wait until they have ended; a running one gets KeyboardInterrupt."""
        for reference in references:
            self.ray.cancel(reference, force=False)
        if references:
            self.ray.wait(list(references), num_returns=len(references), timeout=seconds)


class ResultStream:
    """stdout for the results of the main thread; what Ray prints in other threads goes to stderr, one line each."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            return self.stream.write(text)
        # the death of a node comes with the last lines of its log
        if text.strip():
            sys.stderr.write(f"{shorten(text.strip())}\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def connect(address: str, root: Path, *, cpus: float, gpus: float | None, device: str | None) -> Iterator[RayCluster]:
    """Start Ray on this machine (`local`), or join the cluster at an address, and check its nodes.

    Errors: RecipeError for a missing Ray, an address that cannot be reached, a node that does not see the runs folder
    `root` or has another version, and for tasks that no node can take.
    """
    # a library of Ray resets the colours of what is stdout now when the process ends
    with redirect_stdout(sys.__stderr__):
        ray = _start(address)
    try:
        nodes = _alive(ray)
        if gpus is None:
            gpus = 1.0 if device != "cpu" and any(node["Resources"].get("GPU") for node in nodes) else 0.0
        _check_resources(nodes, cpus, gpus)
        with _token(root) as token:
            _check_nodes(ray, nodes, token)
            with redirect_stdout(ResultStream(sys.stdout)):
                yield RayCluster(ray, cpus, gpus, token)
    finally:
        # which prints what Ray has held back
        with redirect_stdout(sys.stderr):
            ray.shutdown()


@contextmanager
def _token(root: Path) -> Iterator[Path]:
    """Keep a file in a folder of runs, which is made for it, and removed if nothing else is in it at the end."""
    with leaving_no_empty_folder(root):
        with file_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            token = root.resolve() / f"{DRIVER}{uuid4().hex}"
            token.touch()
        try:
            yield token
        finally:
            with suppress(OSError):
                token.unlink()


def last_line(error: BaseException) -> str:
    """Return the last line of an error of Ray, whose text is a traceback that ends with the reason."""
    return shorten(str(error).strip().rpartition("\n")[2].strip())


def check_address(address: str) -> None:
    """Raise RecipeError where Ray is not installed, or nothing answers at the address."""
    # a wrong address is one without Ray too
    if address not in (LOCAL, AUTO):
        _check_reachable(address)
    if find_spec("ray") is None:
        raise RecipeError(f"--ray {address}: needs Ray; pip install 'afdctl[cluster]'")


def _start(address: str) -> Any:
    check_address(address)
    try:
        import ray
        import ray.exceptions
    except (ImportError, OSError) as error:
        raise RecipeError(
            f"--ray {address}: Ray cannot be imported ({last_line(error)}); install it again: pip install "
            "--force-reinstall 'afdctl[cluster]'"
        ) from None

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    # its messages go to a file as often as to a terminal
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    if address == LOCAL:
        options |= {"include_dashboard": False}
        # Ray's default is 15: beside other work the trainings got 0.4 % of a core
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        # its C++ code writes a line each second while a cluster refuses its token
        with _silent_stderr():
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        if address == AUTO and isinstance(error, ConnectionError):
            reason = "no Ray runs on this machine"
        raise RecipeError(
            f"--ray {address}: {reason}; start Ray with `ray start` on this machine too, and give this command the "
            "cluster's token, if it asks for one: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
        ) from None
    return ray


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what is written to the descriptor of stderr."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _alive(ray: Any) -> list[Any]:
    return [node for node in ray.nodes() if node["Alive"]]


def _tasks_of(node: Any, cpus: float, gpus: float) -> int:
    """Return how many tasks a node runs at once."""
    has_cpus, has_gpus = (node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU"))
    return int(min(has_cpus / cpus, has_gpus / gpus if gpus else inf))


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


def format_resources(cpus: float, gpus: float) -> str:
    """Format what a task or a node has: `1 CPU and 0.5 GPUs`."""
    return f"{cpus:g} CPU{'s' * (cpus != 1)} and {gpus:g} GPU{'s' * (gpus != 1)}"


def _check_resources(nodes: Sequence[Any], cpus: float, gpus: float) -> None:
    if any(_tasks_of(node, cpus, gpus) for node in nodes):
        return
    sizes = {(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in nodes}
    listed = ", ".join(format_resources(*size) for size in sorted(sizes))
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
