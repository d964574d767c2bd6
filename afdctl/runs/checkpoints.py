"""Checkpoints: `step-<n>-<digest>.pt`, and the pointers `last` and `best`, small files that hold such a name."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any

from afdctl.errors import CorruptError, NotFoundError, out_of_memory
from afdctl.formatting import shorten
from afdctl.journal import Row, named
from afdctl.runs import files
from afdctl.runs.run import Run

POINTERS = ("best", "last")
NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.pt")


RESTORE = "restore it from a copy, or use another one with --checkpoint"


@dataclass(frozen=True)
class SavedCheckpoint:
    """Where a checkpoint lies, and its SHA-256 (64 hexadecimal digits)."""

    path: Path
    digest: str


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A state as it was saved, and its file's SHA-256; `warnings` tells of newer checkpoints that are damaged."""

    state: dict[str, Any]
    step: int
    epoch: int
    path: Path
    digest: str
    warnings: list[str] = field(default_factory=list)

    @property
    def network(self) -> dict[str, Any]:
        """The weights that are evaluated: where the training averages them, the average."""
        found: dict[str, Any] = self.state.get("ema") or self.state["defense"]["network"]
        return found


def save(run: Run, state: dict[str, Any], *, step: int, epoch: int, best: bool, keep: int = 3) -> SavedCheckpoint:
    """Save `state` durably, point `last` (and `best`) to it, and delete all but the `keep` newest of the others.

    `state` holds dicts, lists, tensors, ints, floats, strings, bools and None. Error: DiskFullError; the others stay.
    """
    import torch

    buffer = BytesIO()
    torch.save({"step": step, "epoch": epoch, "state": state}, buffer)
    data = buffer.getvalue()
    digest = sha256(data).hexdigest()
    path = run.checkpoints / f"step-{step:08d}-{digest[:16]}.pt"
    files.write_bytes(path, data)
    # `best` first: a run that goes on from `last` has that step's idea of what is best
    for pointer in POINTERS if best else POINTERS[1:]:
        files.write_text(run.checkpoints / pointer, f"{path.name}\n")
    _prune(run, step, keep)
    return SavedCheckpoint(path, digest)


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint file: its step, the pointers to it, and whether its digest is the one in its name."""

    path: Path
    step: int
    pointers: tuple[str, ...]
    intact: bool


def listed(run: Run) -> list[CheckpointInfo]:
    """Every checkpoint of a run, the newest first; one that is pointed to and missing is not intact."""
    pointed = {which: path for which in POINTERS if (path := _pointed(run, which))}
    paths = [path for path in pointed.values() if NAME.fullmatch(path.name)] + _newest_first(run)
    return [
        CheckpointInfo(
            path,
            int(path.name.split("-")[1]),
            tuple(which for which in POINTERS if pointed.get(which) == path),
            _verified(path) is not None,
        )
        for path in sorted(dict.fromkeys(paths), key=_step, reverse=True)
    ]


def dangling(run: Run) -> list[str]:
    """Return a sentence for each pointer that names no checkpoint that is there."""
    pointed = {run.checkpoints / which: _pointed(run, which) for which in POINTERS}
    return [
        f"{pointer}: damaged, it names no checkpoint"
        for pointer, path in pointed.items()
        if path and not path.is_file()
    ]


def verify_pointed(run: Run) -> None:
    """Raise CorruptError where `last` or `best` names a checkpoint that is damaged or missing."""
    for checkpoint in listed(run):
        if checkpoint.pointers and not checkpoint.intact:
            raise CorruptError(f"{checkpoint.path}: damaged or missing; {RESTORE}")
    for words in dangling(run):
        raise CorruptError(f"{words}; {RESTORE}")


def repair_best(run: Run, rows: Iterable[Row], step: float = inf) -> list[str]:
    """Let `best` name what the journal's `rows` up to `step` name, where it is missing or damaged; say so.

    A save that found it damaged would delete the best checkpoint with the others.
    """
    named_best = [row["file"] for row in rows if row["event"] == "checkpoint" and row["best"] and row["step"] <= step]
    path, pointed = run.checkpoints / "best", _pointed(run, "best")
    if not named_best or (pointed and pointed.is_file()) or not (run.checkpoints / named_best[-1]).is_file():
        return []
    files.write_text(path, f"{named_best[-1]}\n")
    return [f"{path}: was missing or damaged; made again from the journal, which names {named_best[-1]}"]


def last_step(run: Run) -> int:
    """The step of the checkpoint that `last` names; 0 where it names none."""
    last = _pointed(run, "last")
    return int(match[1]) if last and (match := NAME.fullmatch(last.name)) else 0


def load(run: Run, which: str = "last") -> LoadedCheckpoint:
    """Load the checkpoint `last`, `best` or of a file name onto the CPU, its digest verified.

    For `last` only, the newest good earlier one stands in for a damaged one. Errors: NotFoundError, CorruptError.
    """
    warnings: list[str] = []
    for path in _candidates(run, which):
        if (data := _verified(path)) is not None:
            return _unpack(data, path, warnings)
        warnings.append(f"{path}: damaged or missing; an earlier checkpoint is used instead")
    if which == "last":
        raise CorruptError(f"{run.checkpoints}: every checkpoint is damaged or missing; restore one, or train again")
    (path,) = _candidates(run, which)
    raise CorruptError(f"{run.checkpoints}: {which} ({shorten(path.name)}) is damaged or missing; {RESTORE}")


def _unpack(data: bytes, path: Path, warnings: list[str]) -> LoadedCheckpoint:
    import torch

    try:
        payload = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
        state, step, epoch = payload["state"], int(payload["step"]), int(payload["epoch"])
        if not isinstance(state, dict):
            raise TypeError("its state has no names")
    except Exception as error:
        # torch's reader raises whatever a wrong byte leads to
        if out_of_memory(error):
            raise
        raise CorruptError(f"{path}: not a checkpoint of a training; {RESTORE}") from error
    return LoadedCheckpoint(state, step, epoch, path, sha256(data).hexdigest(), warnings)


@contextmanager
def fitting(loaded: LoadedCheckpoint) -> Iterator[None]:
    """Raise CorruptError where the state that is put into place inside does not fit what the recipe builds."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise CorruptError(f"{loaded.path}: does not fit the run's recipe; {RESTORE}") from error


def _verified(path: Path) -> bytes | None:
    """The content of a checkpoint if its digest is the one in its name, else None."""
    match = NAME.fullmatch(path.name)
    if not match or not path.is_file():
        return None
    with named(path):
        data = path.read_bytes()
    return data if sha256(data).hexdigest().startswith(match[2]) else None


def _candidates(run: Run, which: str) -> list[Path]:
    """What may be loaded as `which`, the first choice first."""
    first = _pointed(run, which) if which in POINTERS else run.checkpoints / which
    if which not in POINTERS and not NAME.fullmatch(which):
        there = ", ".join(path.name for path in _newest_first(run))
        raise NotFoundError(f"run {run.name} has no checkpoint '{which}'; it has best, last, {there or 'no other'}")
    stand_ins = _newest_first(run) if which == "last" else []
    if first is None and not stand_ins:
        raise NotFoundError(f"run {run.name} has no {'' if which == 'last' else which + ' '}checkpoint; train it first")
    if first is None:
        return stand_ins
    return [first, *(path for path in stand_ins if path != first and _step(path) <= _step(first))]


def _prune(run: Run, step: int, keep: int) -> None:
    """Delete what is neither pointed to nor among the `keep` newest; a later step is from before a resume."""
    pinned = {_pointed(run, which) for which in POINTERS}
    others = [path for path in _newest_first(run) if path not in pinned]
    kept = [path for path in others if _step(path) <= step][:keep]
    for path in others:
        if path not in kept:
            path.unlink()


def _pointed(run: Run, which: str) -> Path | None:
    try:
        with named(run.checkpoints / which):
            return run.checkpoints / (run.checkpoints / which).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None


def _newest_first(run: Run) -> list[Path]:
    saved = run.checkpoints.glob("step-*.pt")
    return sorted(saved, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _step(path: Path) -> float:
    """The step in a checkpoint's name; a name that a damaged pointer made up is later than every other."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else inf
