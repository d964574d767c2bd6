"""The rows of a run that count: those of a run that was never stopped."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import inf
from pathlib import Path

from afdctl.journal import Row, tail

Placed = tuple[Row, int]
"""A row, and a number that says where it is in its journal: the offset behind it, or its place in a list."""


class JournalOutline:
    """A journal up to its present end, which is byte `end`.

    `rows` are those that count, and of steps between two others only the last. To iterate over the outline yields every
    row that counts, steps too, read from the file in memory that does not grow with it. Errors: those of `events.tail`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        placed = list(tail(path, sparse=True))
        self.end = placed[-1][1] if placed else 0
        self._course = _Course(placed)
        self.rows = self._course.kept(placed)

    def __iter__(self) -> Iterator[Row]:
        for row, place in tail(self.path):
            if place > self.end:
                return
            if self._course.keeps(row, place):
                yield row


def drop_superseded(rows: Iterable[Row]) -> list[Row]:
    """Those of a journal's rows that count."""
    placed = [(row, place) for place, row in enumerate(rows)]
    return _Course(placed).kept(placed)


class _Course:
    """How a run went back and forth, and so which rows count.

    A resume supersedes the rows before it that have a larger step (an epoch event: a larger epoch), every `test` and
    `end`, because a run that goes on has reached neither, and whatever was measured of a checkpoint that it supersedes.
    """

    def __init__(self, rows: Iterable[Placed]) -> None:
        resumes: list[Placed] = []
        saved: list[Placed] = []
        for row, place in rows:
            if row["event"] == "resume":
                resumes.append((row, place))
            elif row["event"] == "checkpoint":
                saved.append((row, place))
        self._places = [place for _, place in resumes]
        # for each resume: how far back it or a later one went
        self._steps = list(accumulate((row["step"] for row, _ in reversed(resumes)), min))[::-1]
        self._epochs = list(accumulate((row["epoch"] for row, _ in reversed(resumes)), min))[::-1]
        self._gone: set[str] = set()
        kept = {id(row) for row in self.kept(saved)}
        digests = [{row["digest"] for row, _ in saved if (id(row) in kept) is counts} for counts in (False, True)]
        self._gone = digests[0] - digests[1]

    def kept(self, rows: Iterable[Placed]) -> list[Row]:
        """Those of the rows that count."""
        return [row for row, place in rows if self.keeps(row, place)]

    def keeps(self, row: Row, place: int) -> bool:
        """Whether a row counts."""
        later = bisect_right(self._places, place)
        last = later == len(self._places)
        match row["event"]:
            case "resume":
                return False
            case "test" | "end":
                return last
            case "epoch":
                return bool(last or row["epoch"] <= self._epochs[later])
            case _:
                step = inf if last else self._steps[later]
                return bool(row.get("step", 0) <= step and row.get("checkpoint") not in self._gone)
