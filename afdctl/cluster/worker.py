"""What Ray runs on a node: the check of the node, and the task that makes a run exist."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import afdctl
from afdctl import recipe
from afdctl.cluster.cells import BUSY, FAILED, STOPPED, CellRun, Outcome
from afdctl.errors import AfdctlError, RecipeError
from afdctl.journal.claim import STALE_SECONDS
from afdctl.journal.writing_process import host_name
from afdctl.recipe.grid import Cell, short_digest
from afdctl.runs.run import Run

# A worker that died on another node holds its run until the heartbeat of its lock is old.
PATIENCE_SECONDS: Final = STALE_SECONDS + 15


class Node(NamedTuple):
    """A node as a task on it finds it: its host, the version of afdctl there, and whether it sees the runs folder."""

    host: str
    version: str
    sees_runs: bool


def inspect_node(token: str) -> Node:
    """Return what a node has; `token` is the path of a file that the driver has written to the runs folder."""
    return Node(host_name(), afdctl.__version__, Path(token).exists())


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell as plain values: the run's path, its resolved recipe as TOML with the recipe's digest, and options."""

    path: str
    recipe: str
    digest: str
    token: str
    device: str
    data_dir: str | None
    threads: int


def unseen(host: str, token: str) -> str:
    """Say that a node does not see the runs folder."""
    return f"node {host} does not see {Path(token).parent}; name a folder with --runs that all nodes share"


def run_task(task: Task) -> Outcome:
    """Train, resume or find the run of a task. A signal to the worker, or Ray's cancel, saves it."""
    # a node can join after the driver has looked at all
    if not Path(task.token).exists():
        return Outcome(FAILED, RecipeError.exit_code, unseen(host_name(), task.token))
    try:
        chosen = recipe.loads(task.recipe, Path("/"), execute=True)
    except AfdctlError as error:
        return Outcome(FAILED, error.exit_code, f"on {host_name()}: {error}")
    if short_digest(chosen) != task.digest:
        reason = f"a file that the recipe names is not the same on {host_name()}; share it, as the runs"
        return Outcome(FAILED, RecipeError.exit_code, reason)
    return _make_exist(CellRun(Cell((), chosen, task.digest), Run(Path(task.path))), task)


def _make_exist(cell: CellRun, task: Task) -> Outcome:
    # torch takes seconds to import, and the check of a node does not need it
    import torch

    from afdctl.cluster.training import GENERAL, make_exist

    torch.set_num_threads(task.threads)
    end = time.monotonic() + PATIENCE_SECONDS
    data_dir = Path(task.data_dir) if task.data_dir else None
    while True:
        try:
            outcome = make_exist(cell, device=task.device, data_dir=data_dir, on_line=lambda line: None)
        except GENERAL as error:
            return Outcome(STOPPED, error.exit_code, str(error))
        if outcome.word != BUSY or time.monotonic() > end:
            return outcome
        time.sleep(1)
