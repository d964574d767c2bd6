"""Commands that compute what a table or a figure lacks."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from afdctl.paths import display_path
from afdctl.recipe import packaged
from afdctl.runs.record import Record
from afdctl.runs.run import Run

# file stem of the packaged recipe of each method of the paper, after `<dataset>_`
RECIPES: Final = {"NT": "nt", "AT": "at", "TRADES": "trades", "AFD-DCGAN": "dcgan", "AFD-WGAN": "wgan"}


class Gap(NamedTuple):
    """A missing result: `command` computes it, with `{runs}` and `{attacks}` to fill in."""

    command: str
    run: str = ""
    attack: str = ""


def commands(gaps: Iterable[Gap]) -> list[str]:
    """Fill each distinct command with all runs and attacks that need it; sweeps and analyses skip finished work."""
    runs: dict[str, dict[str, None]] = {}
    attacks: dict[str, dict[str, None]] = {}
    for gap in gaps:
        runs.setdefault(gap.command, {})[gap.run] = None
        attacks.setdefault(gap.command, {})[gap.attack] = None
    # attacks first: a run's name may contain braces
    return [
        command.replace("{attacks}", ",".join(attacks[command])).replace("{runs}", " ".join(runs[command]))
        for command in runs
    ]


def sweep(record: Record, attack: str, options: str = "") -> Gap:
    """Sweep the run under an attack of suite paper-A2."""
    return Gap(f"afdctl sweep {{runs}} --suite paper-A2{options} --attacks {{attacks}}", run_word(record.run), attack)


def sweep_all(record: Record) -> Gap:
    """Sweep the run under all attacks of suite paper-A2."""
    return Gap("afdctl sweep {runs} --suite paper-A2", run_word(record.run))


def analyze(record: Record, *analyses: str) -> Gap:
    """Run these analyses on the run."""
    return Gap(f"afdctl analyze {{runs}}{''.join(f' --{name}' for name in analyses)}", run_word(record.run))


def train(dataset: str, method: str) -> Gap | None:
    """Train the packaged recipe of a method of the paper; None for a data set without one."""
    name = f"{dataset}_{RECIPES[method]}"
    return Gap(f"afdctl train {name}") if name in packaged() else None


def run_word(run: Run, *inside: str) -> str:
    """Quote a run, or a file inside it, for a shell; runs under `runs`, the default folder, by name alone."""
    if not inside and run.path.resolve().parent == Path("runs").resolve():
        return shlex.quote(run.name)
    return shlex.quote(str(display_path(run.path.joinpath(*inside))))
