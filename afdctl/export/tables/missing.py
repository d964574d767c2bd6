"""What a table lacks, and the few commands that make it."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from afdctl.recipe.find import shown
from afdctl.store.run import Run


class Need(NamedTuple):
    """One missing piece: `part` (an attack, an analysis, a table) of `run`, made by `verb` with `options`.

    A training has no part, and `run` is what is trained. All are words for a shell.
    """

    verb: str
    run: str
    part: str = ""
    options: tuple[str, ...] = ()


def combined(needs: Iterable[Need]) -> dict[Need, str]:
    """Need -> the command that makes it: one for all parts of a run, and for all runs that lack the same parts."""
    wanted = list(dict.fromkeys(needs))
    parts: dict[Need, list[str]] = {}
    for need in wanted:
        parts.setdefault(need._replace(part=""), []).append(need.part)
    shared: dict[Need, list[str]] = {}
    for whole, lacking in parts.items():
        shared.setdefault(_without_run(whole, lacking), []).append(whole.run)
    commands = {command: _text(command, runs) for command, runs in shared.items()}
    wholes = {need: need._replace(part="") for need in wanted}
    return {need: commands[_without_run(whole, parts[whole])] for need, whole in wholes.items()}


def _without_run(whole: Need, parts: list[str]) -> Need:
    # a training is a command of its own
    return whole._replace(run=whole.run if whole.verb == "train" else "", part=",".join(parts))


def _text(command: Need, runs: list[str]) -> str:
    words = ["afdctl", command.verb, *runs, *command.options]
    if command.verb == "sweep":
        words += ["--attacks", command.part]
    elif command.verb == "export":
        words += ["--table", command.part]
    elif command.verb == "analyze":
        words += [f"--{part}" for part in command.part.split(",")]
    return " ".join(words)


def word(run: Run, *inside: str) -> str:
    """A run, or a file inside, as a command names it: by name where it lies in `runs`, which is looked into."""
    if not inside and run.path.resolve().parent == Path("runs").resolve():
        return shlex.quote(run.name)
    return shlex.quote(str(shown(run.path.joinpath(*inside))))
