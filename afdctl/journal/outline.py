"""Which rows of a journal count: those that remain valid after every resume."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Final

from afdctl.journal.cache import JournalCache
from afdctl.journal.reader import JournalReader, JournalReplaced, strict_errors
from afdctl.journal.rows import Line, Lines, Row
from afdctl.journal.steps import Steps, divide, step_of

# Bytes of lines that are in memory at once.
BLOCK_BYTES: Final = 1 << 21


class JournalOutline:
    """The rows of a journal that count, up to byte `end`, the end of its last intact line of `size` bytes when opened.

    `rows` holds them without most steps: of consecutive steps only the last. `read` reads all from the file, in memory
    that does not grow with it. Errors: those of `read_rows`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # parsing every step would take 5 s per million, skipping steps 0.9 s
        cache = JournalCache.of(path)
        lines = cache.refresh()
        self.end, self.size = cache.end, cache.size
        self._history = _ResumeHistory(lines)
        self.rows = self._history.select(lines)

    def has_resume_after(self, place: int) -> bool:
        """Whether the training was resumed after byte `place`, so that rows before it may not count any more."""
        return self._history.has_resume_after(place)

    def read(self, events: Collection[str] | None = None, begin: int = 0) -> Iterator[Row]:
        """Yield every row from byte `begin` that counts, of these events (default: all), steps included."""
        for block in self.read_blocks(events, begin):
            yield from block.rows() if isinstance(block, Steps) else (block,)

    def read_blocks(self, events: Collection[str] | None = None, begin: int = 0) -> Iterator[Steps | Row]:
        """Yield what `read` does, but consecutive steps with the same fields as one block."""
        reader = JournalReader(self.path)
        with strict_errors(self.path):
            for place, block in divide(self._lines(begin), reader.checked_row, events):
                if left := self._without_superseded(block, place):
                    yield left

    def _lines(self, begin: int) -> Iterator[Lines]:
        """Yield the lines from byte `begin` to `end`, many at once.

        They were verified when the outline was made, and are not verified again.
        """
        with self.path.open("rb") as file:
            file.seek(begin)
            while (place := file.tell()) < self.end:
                lines = file.read(min(BLOCK_BYTES, self.end - place))
                if file.tell() < self.end:
                    lines += file.readline()
                if not lines.endswith(b"\n"):
                    raise JournalReplaced
                yield place, lines

    def _without_superseded(self, block: Steps | Row, place: int) -> Steps | Row | None:
        """Return the row, or the steps of a block, if they count."""
        if not isinstance(block, Steps):
            return block if self._history.counts(block, place) else None
        if not self.has_resume_after(place):
            return block
        lines = block.lines.splitlines(keepends=True)
        left = [line for line in lines if self._history.counts({"event": "step", "step": step_of(line)}, place)]
        return block._replace(lines=b"".join(left)) if left else None


def drop_superseded(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a journal that count."""
    lines = list(enumerate(rows))
    return _ResumeHistory(lines).select(lines)


class _ResumeHistory:
    """The resumes of a run, and so which rows they superseded.

    A resume supersedes the rows before it that have a larger step (an `epoch` row: a larger epoch), every `test` and
    `end`, because the resumed training has reached neither, and results measured on a checkpoint that it supersedes.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        resumes: list[Line] = []
        checkpoints: list[Line] = []
        for line in lines:
            if line[1]["event"] == "resume":
                resumes.append(line)
            elif line[1]["event"] == "checkpoint":
                checkpoints.append(line)
        self._places = [place for place, _ in resumes]
        # for each resume: the smallest step and epoch that it or a later one returned to
        self._steps = list(accumulate((row["step"] for _, row in reversed(resumes)), min))[::-1]
        self._epochs = list(accumulate((row["epoch"] for _, row in reversed(resumes)), min))[::-1]
        self._superseded: set[str] = set()
        valid = {row["digest"] for row in self.select(checkpoints)}
        # a checkpoint that was saved again, with the same content, is valid
        self._superseded = {row["digest"] for _, row in checkpoints} - valid

    def has_resume_after(self, place: int) -> bool:
        """Whether a resume is at byte or index `place` or later."""
        return bool(self._places) and self._places[-1] >= place

    def select(self, lines: Iterable[Line]) -> list[Row]:
        """Return the rows that count."""
        return [row for place, row in lines if self.counts(row, place)]

    def counts(self, row: Row, place: int) -> bool:
        """Whether a row counts; `place` is its byte offset or index in the journal."""
        later = bisect_right(self._places, place)
        is_last = later == len(self._places)
        match row["event"]:
            case "resume":
                return False
            case "test" | "end":
                return is_last
            case "epoch":
                return bool(is_last or row["epoch"] <= self._epochs[later])
            case _:
                step = inf if is_last else self._steps[later]
                return bool(row.get("step", 0) <= step and row.get("checkpoint") not in self._superseded)
