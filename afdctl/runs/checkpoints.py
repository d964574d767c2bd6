"""Checkpoints: `step-<n>-<digest>.pt`, and the pointers `last` and `best`, files that hold the name of one."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any, Final

from afdctl.errors import CorruptError, NotFoundError, file_errors, out_of_memory
from afdctl.formatting import shorten
from afdctl.journal import Row
from afdctl.runs import files
from afdctl.runs.run import Run

POINTERS: Final = ("best", "last")
NAME: Final = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.pt")
RESTORE: Final = "restore it from a copy, or use another one with --checkpoint"


@dataclass(frozen=True)
class SavedCheckpoint:
    """The path of a checkpoint, and its SHA-256 (64 hexadecimal digits)."""

    path: Path
    digest: str


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A saved state, and its file's SHA-256; `warnings` names newer checkpoints that are damaged."""

    state: dict[str, Any]
    step: int
    epoch: int
    path: Path
    digest: str
    warnings: list[str] = field(default_factory=list)

    @property
    def network(self) -> dict[str, Any]:
        """The weights to evaluate: their moving average if the training has one."""
        weights: dict[str, Any] = self.state.get("ema") or self.state["defense"]["network"]
        return weights


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint file: its step, the pointers to it, and whether its digest is the one in its name."""

    path: Path
    step: int
    pointers: tuple[str, ...]
    intact: bool


def save(run: Run, state: dict[str, Any], *, step: int, epoch: int, best: bool, keep: int = 3) -> SavedCheckpoint:
    """Save a state durably, point `last` (and `best`) to it, and delete all others but the `keep` newest.

    `state` holds dicts, lists, tensors, ints, floats, strings, bools and None. After DiskFullError no other is deleted.
    """
    import torch

    # in memory first, because the digest is part of the file's name
    buffer = BytesIO()
    torch.save({"step": step, "epoch": epoch, "state": state}, buffer)
    data = buffer.getvalue()
    digest = sha256(data).hexdigest()
    path = run.checkpoints / f"step-{step:08d}-{digest[:16]}.pt"
    # written in place, 115 of 150 killed saves left a file that torch cannot load
    files.write_bytes(path, data)
    # `best` first: a run resumed from `last` takes the best epoch from that checkpoint's state
    for pointer in POINTERS if best else POINTERS[1:]:
        files.write_text(run.checkpoints / pointer, f"{path.name}\n")
    # last, when both pointers name files that stay
    _prune(run, step, keep)
    return SavedCheckpoint(path, digest)


def list_checkpoints(run: Run) -> list[CheckpointInfo]:
    """Return every checkpoint of a run, the newest first; a missing one with a pointer to it is not intact."""
    pointed = {pointer: path for pointer in POINTERS if (path := _pointed(run, pointer))}
    paths = [path for path in pointed.values() if NAME.fullmatch(path.name)] + _newest_first(run)
    return [
        CheckpointInfo(
            path=path,
            step=int(path.name.split("-")[1]),
            pointers=tuple(pointer for pointer in POINTERS if pointed.get(pointer) == path),
            intact=_verified(path) is not None,
        )
        for path in sorted(dict.fromkeys(paths), key=_step, reverse=True)
    ]


def dangling_pointers(run: Run) -> list[str]:
    """Return a sentence for each pointer that names no existing checkpoint."""
    pointed = {run.checkpoints / pointer: _pointed(run, pointer) for pointer in POINTERS}
    return [
        f"{pointer}: damaged, it names no checkpoint"
        for pointer, path in pointed.items()
        if path and not path.is_file()
    ]


def verify_pointed(run: Run) -> None:
    """Raise CorruptError if `last` or `best` names a damaged or missing checkpoint."""
    for checkpoint in list_checkpoints(run):
        if checkpoint.pointers and not checkpoint.intact:
            raise CorruptError(f"{checkpoint.path}: damaged or missing; restore it from a copy")
    for reason in dangling_pointers(run):
        raise CorruptError(f"{reason}; restore it from a copy")


def repair_best(run: Run, rows: Iterable[Row], step: float = inf) -> list[str]:
    """Restore a missing or damaged pointer `best` from the journal's `rows` up to `step`; return a warning if so.

    Without it, the next save would delete the best checkpoint with the others.
    """
    named_best = [row["file"] for row in rows if row["event"] == "checkpoint" and row["best"] and row["step"] <= step]
    path, pointed = run.checkpoints / "best", _pointed(run, "best")
    if not named_best or (pointed and pointed.is_file()) or not (run.checkpoints / named_best[-1]).is_file():
        return []
    files.write_text(path, f"{named_best[-1]}\n")
    return [f"{path}: was missing or damaged; restored from the journal, which names {named_best[-1]}"]


def last_step(run: Run) -> int:
    """Return the step of the checkpoint that `last` names; 0 if it names none."""
    last = _pointed(run, "last")
    return int(match[1]) if last and (match := NAME.fullmatch(last.name)) else 0


def load(run: Run, which: str = "last") -> LoadedCheckpoint:
    """Load the checkpoint `last`, `best` or of a file name onto the CPU, its digest verified.

    If `last` is damaged, the newest intact earlier one is loaded. Errors: NotFoundError, CorruptError.
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
            raise TypeError("the state is not a dict")
    except Exception as error:
        # torch.load raises exceptions of many types for a wrong byte
        if out_of_memory(error):
            raise
        raise CorruptError(f"{path}: not a checkpoint of a training; {RESTORE}") from error
    digest = sha256(data).hexdigest()
    return LoadedCheckpoint(state=state, step=step, epoch=epoch, path=path, digest=digest, warnings=warnings)


@contextmanager
def fitting(loaded: LoadedCheckpoint) -> Iterator[None]:
    """Raise CorruptError if a state that is loaded in this block does not fit the model that the recipe builds."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise CorruptError(f"{loaded.path}: does not fit the run's recipe; {RESTORE}") from error


def _verified(path: Path) -> bytes | None:
    """Return the content of a checkpoint if its digest is the one in its name, else None."""
    match = NAME.fullmatch(path.name)
    if not match or not path.is_file():
        return None
    with file_errors(path):
        data = path.read_bytes()
    # torch.load reads a file with one flipped bit without an error (100 of 100 tries)
    return data if sha256(data).hexdigest().startswith(match[2]) else None


def _candidates(run: Run, which: str) -> list[Path]:
    """Return the files to load as `which`, the first choice first."""
    first = _pointed(run, which) if which in POINTERS else run.checkpoints / which
    if which not in POINTERS and not NAME.fullmatch(which):
        names = ", ".join(path.name for path in _newest_first(run))
        raise NotFoundError(f"run {run.name} has no checkpoint '{which}'; it has best, last, {names or 'no other'}")
    # only `last` has a substitute: an earlier step resumes the same training, another `best` is another result
    fallbacks = _newest_first(run) if which == "last" else []
    if first is None and not fallbacks:
        raise NotFoundError(f"run {run.name} has no {'' if which == 'last' else which + ' '}checkpoint; train it first")
    if first is None:
        return fallbacks
    return [first, *(path for path in fallbacks if path != first and _step(path) <= _step(first))]


def _prune(run: Run, step: int, keep: int) -> None:
    """Delete checkpoints without a pointer except the `keep` newest; a later step is from before a resume."""
    pointed = {_pointed(run, pointer) for pointer in POINTERS}
    others = [path for path in _newest_first(run) if path not in pointed]
    newest = [path for path in others if _step(path) <= step][:keep]
    for path in others:
        if path not in newest:
            path.unlink()


def _pointed(run: Run, pointer: str) -> Path | None:
    """Return the path that a pointer names, or None if there is no such pointer."""
    try:
        with file_errors(run.checkpoints / pointer):
            # a damaged pointer may contain any bytes
            return run.checkpoints / (run.checkpoints / pointer).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None


def _newest_first(run: Run) -> list[Path]:
    paths = run.checkpoints.glob("step-*.pt")
    return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _step(path: Path) -> float:
    """Return the step in a checkpoint's name; infinite for the name in a damaged pointer."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else inf
