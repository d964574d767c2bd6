"""What a figure needs of a run, and the command that makes what is missing."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from afdctl.export.tables.missing import word
from afdctl.store import shards
from afdctl.store.record import Record

ATTACKS: Final = ("pgd_linf", "pgd_l1", "pgd_l2", "fgsm", "mim", "ddn", "deepfool", "cw", "aa")
"""The paper's nine white-box attacks, in the order of its panels."""


class Needs(NamedTuple):
    """Results by name, how to see whether a run has one, and the command that makes `{runs}` have them.

    `only` is what the command says besides where not all are missing, but `{names}`.
    """

    names: tuple[str, ...]
    has: Callable[[Record, str], bool]
    command: str
    only: str = ""

    def missing(self, record: Record) -> tuple[str, ...]:
        return tuple(name for name in self.names if not self.has(record, name))

    def any_of(self, record: Record) -> bool:
        """Whether there is something to draw of the run."""
        return len(self.missing(record)) < len(self.names)

    def lines(self, records: Iterable[Record]) -> list[str]:
        """One line for all runs that lack the same: what, and what to do about it."""
        lacking: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            lacking.setdefault(self.missing(record), []).append(record)
        return [self._line(names, runs) for names, runs in lacking.items() if names]

    def _line(self, names: tuple[str, ...], records: list[Record]) -> str:
        runs = " ".join(word(record.run) for record in records)
        command = self.command + ("" if names == self.names else self.only)
        what = f"{', '.join(record.name for record in records)}: no {', '.join(names)}"
        return f"{what}; `{command.format(runs=runs, names=','.join(names))}`"


SWEPT: Final = Needs(
    ATTACKS,
    lambda record, attack: (attack, None) in record.curves,
    "afdctl sweep {runs} --profile paper-A2",
    " --attacks {names}",
)


def analysed(name: str) -> Needs:
    """Return the needs of one analysis."""
    return Needs((name,), lambda record, name: name in record.analyses, f"afdctl analyze {{runs}} --{name}")


def figures(record: Record, analysis: str) -> dict[str, Any]:
    """The figures of the analysis of a run that counts."""
    found: dict[str, Any] = record.analyses[analysis]["figures"]
    return found


def arrays(record: Record, analysis: str) -> shards.Arrays:
    """Its arrays. Error: CorruptError."""
    return shards.read(record.run, record.analyses[analysis]["shard"])
