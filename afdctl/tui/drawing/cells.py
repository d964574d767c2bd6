"""A rectangle of terminal cells, each with a character and an ink (the number of a style). Panes draw on it."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from textual.strip import Strip

from afdctl.tui.drawing.palette import Palette

# a text and its ink
Span = tuple[str, int]
BLANK = ord(" ")


class Cells:
    """`height` rows of `width` cells, initially blank."""

    def __init__(self, width: int, height: int, palette: Palette) -> None:
        self.width, self.height, self.palette = max(0, width), max(0, height), palette
        self.codes = np.full((self.height, self.width), BLANK, np.uint32)
        self.inks = np.full((self.height, self.width), palette.ink("text"), np.uint16)

    def put(self, x: int, y: int, *spans: Span, end: int | None = None) -> int:
        """Write spans from column x, clipped at `end`; return the column after them."""
        end = self.width if end is None else min(end, self.width)
        for text, ink in spans:
            text = one_cell_each(text)[: max(0, end - x)]
            if text and 0 <= y < self.height and x >= 0:
                self.codes[y, x : x + len(text)] = np.frombuffer(text.encode("utf-32-le"), np.uint32)
                self.inks[y, x : x + len(text)] = ink
            x += len(text)
        return x

    def put_right(self, x: int, y: int, *spans: Span) -> int:
        """Write spans that end before column x, or nothing if they do not fit; return their first column."""
        begin = x - length(spans)
        if begin >= 0:
            self.put(begin, y, *spans)
            return begin
        return x

    def paste(self, x: int, y: int, other: "Cells") -> None:
        """Copy another rectangle to (x, y), clipped."""
        height, width = min(other.height, self.height - y), min(other.width, self.width - x)
        if height > 0 and width > 0:
            self.codes[y : y + height, x : x + width] = other.codes[:height, :width]
            self.inks[y : y + height, x : x + width] = other.inks[:height, :width]

    def frame(self, title: Sequence[Span] = (), right: Sequence[Span] = (), focused: bool = False) -> None:
        """Draw a frame with a title in its upper edge, and `right` at the end of it if there is room."""
        if self.width < 4 or self.height < 2:
            return
        ink = self.palette.ink("focus" if focused else "frame")
        rule = "─" * (self.width - 2)
        self.put(0, 0, (f"╭{rule}╮", ink))
        self.put(0, self.height - 1, (f"╰{rule}╯", ink))
        self.codes[1:-1, [0, -1]] = ord("│")
        self.inks[1:-1, [0, -1]] = ink
        x = 2
        if title:
            x = self.put(2, 0, (" ", ink), *title, (" ", ink), end=self.width - 2)
        if right and length(right) + 2 <= self.width - 3 - x:
            self.put_right(self.width - 2, 0, (" ", ink), *right, (" ", ink))

    def strip(self, y: int) -> Strip:
        """Return row y as Textual draws it."""
        if not self.width:
            return Strip([], 0)
        inks = self.inks[y]
        edges = [0, *(np.flatnonzero(inks[1:] != inks[:-1]) + 1).tolist(), self.width]
        text = self.codes[y].tobytes().decode("utf-32-le")
        styles = self.palette.styles
        return Strip(
            [Segment(text[begin:end], styles[inks[begin]]) for begin, end in pairwise(edges)],
            self.width,
        )

    def ansi(self) -> str:
        """Return the rows with escape codes for colours."""
        return "".join(
            self.strip(y).render(Console(color_system="truecolor", force_terminal=True)) + "\n"
            for y in range(self.height)
        )

    def text(self) -> str:
        """Return the characters, one line per row, without trailing blanks."""
        return "\n".join(row.tobytes().decode("utf-32-le").rstrip() for row in self.codes)


def length(spans: Iterable[Span]) -> int:
    """Return how many cells spans take."""
    return sum(len(text) for text, _ in spans)


@lru_cache(4096)
def one_cell_each(text: str) -> str:
    """Replace each character that does not take exactly one cell by a dot."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() and cell_len(char) == 1 else "·" for char in text)


# the bits of the dots in a braille character, four rows of two
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint32)


def braille(dots: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return the bits (h, w) of the braille characters that show dots (4 h, 2 w)."""
    height, width = dots.shape[0] // 4, dots.shape[1] // 2
    blocks = dots.reshape(height, 4, width, 2).astype(np.uint32)
    bits: NDArray[np.uint32] = np.einsum("hiwj,ij->hw", blocks, DOT_BITS).astype(np.uint32)
    return bits
