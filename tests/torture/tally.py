"""Count the outcomes of trials, and print the counts as a table."""

import json
import os
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.torture.forms import SHARE

SURVIVED, LOST, TRACEBACK, UNCLEAR, HUNG = "survived", "lost", "traceback", "unclear", "hung"
BEGIN, END = "<!-- torture -->", "<!-- /torture -->"
"""Marks in a Markdown file, before and after the page."""
OUTCOMES = (SURVIVED, LOST, TRACEBACK, UNCLEAR, HUNG)
HEADS = ("survived", "lost", "tracebacks", "unclear", "hung")
"""Lost: work or a right number. Unclear: no traceback, but not one line that names the file, or a wrong exit code."""


@dataclass(frozen=True)
class Trial:
    """One trial: its row of the table, what was done, its outcome, and the last message if it failed."""

    kind: str
    done: str
    outcome: str = SURVIVED
    words: str = ""

    @property
    def likeness(self) -> tuple[str, str, str]:
        """Failures that are alike in this are probably one fault."""
        return self.kind, self.outcome, re.sub(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+|'[^']*'", "#", self.words)[:120]


class Tally:
    """The trials of a session."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.seconds: Counter[str] = Counter()

    def add(self, trials: Iterable[Trial], seconds: float = 0.0) -> None:
        """Count trials of one kind, which took this long together."""
        new = list(trials)
        self.trials += new
        if new:
            self.seconds[new[0].kind] += seconds

    def rows(self) -> list[list[str | int]]:
        """One row a kind: its name, tried, then the count of each outcome, then seconds."""
        counts = {kind: Counter[str]() for kind in dict.fromkeys(trial.kind for trial in self.trials)}
        for trial in self.trials:
            counts[trial.kind][trial.outcome] += 1
        rows: list[list[str | int]] = [
            [kind, of.total(), *(of[outcome] for outcome in OUTCOMES), round(self.seconds[kind])]
            for kind, of in sorted(counts.items())
        ]
        sums = [sum(int(row[at]) for row in rows) for at in range(1, len(OUTCOMES) + 3)]
        return [*rows, ["all", *sums]] if rows else []

    def table(self) -> str:
        """The rows in Markdown."""
        heads = ["what was tried", "tried", *HEADS, "seconds"]
        lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *self.rows()]
        return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

    def page(self) -> str:
        """The table with its date and machine, and one line for each class of failure."""
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
        heading = f"{time.strftime('%Y-%m-%d', time.gmtime())}, {machine}"
        heading += f", share {SHARE:g} of the full form" if SHARE != 1 else ""
        found = [f"- {line}" for line in failures(self.trials)]
        return "\n".join([heading, "", self.table(), "", *found, ""])

    def write(self, path: Path) -> None:
        """Write all trials to `path` (.json), or the page: between the marks of a file that has them, else alone."""
        if path.suffix == ".json":
            trials = [asdict(trial) for trial in self.trials]
            path.write_text(json.dumps({"rows": self.rows(), "trials": trials}, indent=1))
            return
        before, begin, rest = (path.read_text() if path.exists() else "").partition(BEGIN)
        _, end, after = rest.partition(END)
        path.write_text(f"{before}{begin}\n{self.page()}{end}{after}" if end else self.page())


def failures(trials: Sequence[Trial]) -> list[str]:
    """One line for each class of failure: how many, what came, and the first trial that shows it."""
    alike: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        if trial.outcome != SURVIVED:
            alike.setdefault(trial.likeness, []).append(trial)
    return [f"{len(of)} x {of[0].kind}: {of[0].outcome}: {of[0].words} [{of[0].done}]" for of in alike.values()]
