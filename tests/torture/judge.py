"""Judge the outcome of a trial by the output and the files of its commands."""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from tests.torture.process import Ended, parsed
from tests.torture.tally import HUNG, LOST, SURVIVED, TRACEBACK, UNCLEAR, Trial

CLOCK = {
    "t",
    "seconds",
    "images_per_s",
    "started",
    "trained_until",
    "written",
    "size",
    "disk",
    "pid",
    "elapsed",
    "product_flop_per_s",
    "floor_seconds",
    "command",
    "events",
    "log_offset",
    "log_sha256",
    "commit",
}
"""Keys whose values differ from one time to the next."""
ADMITS = re.compile(r"damaged|missing|corrupt|changed|torn|\blost\b|not (?:whole|intact|what)", re.I)
"""Words of a command that reports damage."""
# keys of JSON whose text describes damage; all other text is data
DAMAGE_KEYS = ("damage", "warnings")

Outcome = tuple[str, str]
FINE: Outcome = (SURVIVED, "")


def numbers(out: str) -> Any:
    """Return the output without times: JSON as an object, other text as the numbers of each line."""
    value = parsed(out)
    return [re.findall(r"[\w.%-]+", line) for line in _timeless(out)] if isinstance(value, str) else _without(value)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in CLOCK}
    return [_without(item) for item in value] if isinstance(value, list) else value


def _timeless(out: str) -> list[str]:
    return [
        re.sub(r"[\d,]+ images/s|\d\d:\d\d(:\d\d)?|\d{4}-\d\d-\d\d|[\d.]+ [kM]?B|\([\d.]+ s\)", "", line)
        for line in out.splitlines()
    ]


def crash(ended: Ended) -> Outcome | None:
    """The outcome where a command hung, printed a traceback or died of a signal such as SIGSEGV."""
    if ended.code is None:
        return HUNG, f"`{short(ended)}` hung"
    if "Traceback (most recent call last)" in ended.err + ended.out:
        last = [line for line in (ended.err + ended.out).splitlines() if line.strip()][-1]
        return TRACEBACK, f"`{short(ended)}`: {last}"
    if ended.code < 0:
        return TRACEBACK, f"`{short(ended)}` died of signal {-ended.code}"
    return None


def refusal(ended: Ended, names: Iterable[str] = (), codes: Iterable[int] = ()) -> Outcome:
    """Judge a command that may fail: one error line, one of the files named there or in a warning, and a code."""
    if bad := crash(ended):
        return bad
    if ended.code == 0:
        return UNCLEAR, f"`{short(ended)}` exits 0"
    errors = ended.errors
    if len(errors) != 1 or len(errors[0]) > 1000:
        return UNCLEAR, f"`{short(ended)}` exits {ended.code} with {len(errors)} error lines: {ended.err[-200:]!r}"
    if (wanted := set(codes)) and ended.code not in wanted:
        return UNCLEAR, f"`{short(ended)}` exits {ended.code}, not {sorted(wanted)}: {errors[0]}"
    messages = [*errors, *(line for line in ended.err.splitlines() if line.startswith("warning: "))]
    if (wanted_names := [name for name in names if name]) and not any(
        name in line for name in wanted_names for line in messages
    ):
        return UNCLEAR, f"`{short(ended)}` exits {ended.code} without naming {wanted_names[0]}: {errors[0]}"
    return FINE


def reading(ended: Ended, truth: Ended, names: Sequence[str]) -> Outcome:
    """Judge a command on a damaged run: it prints the true numbers, or reports the damage."""
    if ended.code != 0:
        return refusal(ended, names)
    if bad := crash(ended):
        return bad
    if truth.code != 0 or numbers(ended.out) == numbers(truth.out):
        return FINE
    if any(ADMITS.search(line) and any(name in line for name in names) for line in admissions(ended)):
        return FINE
    return (
        LOST,
        f"`{short(ended)}` prints another {first_difference(numbers(ended.out), numbers(truth.out))} without a word",
    )


def admissions(ended: Ended) -> list[str]:
    """Return the lines that may report damage, without the data that the command prints as JSON."""
    values = [parsed(ended.out)]
    if isinstance(values[0], str):
        values = [parsed(line) for line in ended.out.splitlines()]
    return [*ended.err.splitlines(), *(line for value in values for line in _damage_messages(value))]


def _damage_messages(value: Any, describes_damage: bool = True) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("intact") is False:
            yield f"damaged: {value}"
        for key, item in value.items():
            yield from _damage_messages(item, key in DAMAGE_KEYS)
    elif isinstance(value, list):
        for item in value:
            yield from _damage_messages(item, describes_damage)
    elif describes_damage and isinstance(value, str):
        yield value


def first_difference(found: Any, truth: Any, place: str = "") -> str:
    """Where two values of JSON differ first, and how: `runs.0.clean: 0.5, not 0.6`."""
    if isinstance(found, dict) and isinstance(truth, dict):
        keys = [key for key in {**truth, **found} if found.get(key) != truth.get(key)]
        return first_difference(found.get(keys[0]), truth.get(keys[0]), f"{place}{keys[0]}.")
    if isinstance(found, list) and isinstance(truth, list) and len(found) == len(truth):
        index = next(index for index, item in enumerate(found) if item != truth[index])
        return first_difference(found[index], truth[index], f"{place}{index}.")
    return f"{place.rstrip('.')}: {str(found)[:60]}, not {str(truth)[:60]}"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The first outcome that is not fine; tracebacks and hangs before all others."""
    bad = [outcome for outcome in outcomes if outcome[0] != SURVIVED]
    return min(bad, key=lambda one: (HUNG, TRACEBACK, LOST, UNCLEAR).index(one[0]), default=FINE)


def trial(kind: str, done: str, outcome: Outcome) -> Trial:
    return Trial(kind, done, *outcome)


def short(ended: Ended) -> str:
    """A command without its `--set` options."""
    return re.sub(r" --set \S+", "", ended.command)


def measured(run: Path) -> dict[str, Any]:
    """All that a run found, for comparing to the bit: its results, and the states of its checkpoints."""
    found = results(run)
    for which in ("last", "best"):
        if (pointer := run / "checkpoints" / which).exists():
            file = pointer.with_name(pointer.read_text(errors="replace").strip())
            found[which] = _state(file) if file.is_file() else "points to nothing"
    return found


def _state(file: Path) -> str:
    try:
        return digest(torch.load(file, weights_only=True))
    except Exception:  # noqa: BLE001 - whatever a damaged byte leads to
        return "damaged"


def results(run: Path) -> dict[str, Any]:
    """Every array and number of a run's results.h5 that the clock does not decide."""
    found: dict[str, Any] = {}
    if (run / "results.h5").exists():
        with h5py.File(run / "results.h5") as file:
            found["complete"] = bool(file.attrs["complete"])
            _collect(file, "", found)
    return found


def _collect(group: h5py.Group, place: str, found: dict[str, Any]) -> None:
    for name in group:
        item = group.get(name)
        path = f"{place}/{name}"
        if isinstance(item, h5py.Dataset):
            found[path] = _array(item[()])
        elif item is None:
            found[path] = "a link to nothing"
        else:
            found |= {f"{path}@{key}": str(value) for key, value in item.attrs.items() if key not in CLOCK}
            _collect(item, path, found)


def _array(array: Any) -> str:
    if array.dtype.names:
        return str({name: array[name].tolist() for name in array.dtype.names if name not in CLOCK})
    return f"{array.dtype} {array.shape} {sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def digest(state: Any) -> str:
    """Return the SHA-256 of the whole content of a checkpoint."""
    code = sha256()

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                code.update(repr(key).encode())
                visit(item)
        elif isinstance(value, list | tuple):
            for item in value:
                visit(item)
        elif isinstance(value, torch.Tensor):
            code.update(value.contiguous().numpy().tobytes())
        else:
            code.update(repr(value).encode())

    visit(state)
    return code.hexdigest()


def differences(found: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """Return the names of missing, new and different items."""
    return [name for name in {**truth, **found} if found.get(name) != truth.get(name)]
