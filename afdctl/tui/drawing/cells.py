"""A rectangle of terminal cells, each with a character and an ink, and the palette of inks. Panes draw on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Depth = Literal["true", "256", "none"]

ROLES: Final[Mapping[str, tuple[str, str, str, str]]] = {
    # role: dark 24 bits, dark 256 colours, light 24 bits, light 256 colours
    "ground": ("#14161d", "#121212", "#fbfbfd", "#ffffff"),
    "text": ("#cdd3e0", "#d0d0d0", "#2b303c", "#303030"),
    "strong": ("#f2f5fb", "#eeeeee", "#0e1118", "#080808"),
    "dim": ("#838b9e", "#8a8a8a", "#6b7284", "#6c6c6c"),
    "faint": ("#3f4657", "#444444", "#c9cedb", "#c6c6c6"),
    "frame": ("#2f3545", "#3a3a3a", "#d5d9e4", "#d0d0d0"),
    "focus": ("#7aa7f7", "#87afff", "#2f62d0", "#005fd7"),
    "L_C": ("#74aaff", "#87afff", "#2a63d4", "#005fd7"),
    "L_D": ("#e8bd6d", "#d7af5f", "#9a6700", "#875f00"),
    "L_F": ("#f47d9b", "#ff87af", "#c2255c", "#af005f"),
    "good": ("#86d9a0", "#87d787", "#1a7f45", "#008700"),
    "d_hdh": ("#bca2f4", "#af87ff", "#7146c8", "#5f00d7"),
    "other": ("#63cadb", "#5fd7d7", "#0b7285", "#005f87"),
    "warn": ("#f0b35e", "#ffaf5f", "#b35c00", "#af5f00"),
    "bad": ("#ff7272", "#ff5f5f", "#d1242f", "#d70000"),
    "key": ("#f2a272", "#ffaf87", "#b3541e", "#af5f00"),
}
# the colours of compared runs, in order
COMPARED: Final = ("L_C", "L_D", "L_F", "good", "d_hdh", "other", "warn", "bad")
SYSTEMS: Final = {
    "truecolor": ColorSystem.TRUECOLOR,
    "256": ColorSystem.EIGHT_BIT,
    "standard": ColorSystem.STANDARD,
}
PLAIN: Final[Mapping[str, Style]] = {
    "strong": Style(bold=True),
    "dim": Style(dim=True),
    "faint": Style(dim=True),
    "frame": Style(dim=True),
    "key": Style(bold=True),
    "warn": Style(bold=True),
    "bad": Style(bold=True, reverse=True),
    "focus": Style(bold=True),
}
# a text and its ink
Span = tuple[str, int]
BLANK = ord(" ")
# the bits of the dots in a braille character, four rows of two
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint32)


@dataclass
class Palette:
    """Styles by number (ink), created on first use. `depth` is what the terminal can show."""

    dark: bool = True
    depth: Depth = "true"
    styles: list[Style] = field(default_factory=list)
    _grounds: list[str] = field(default_factory=list)
    _codes: dict[tuple[int, str | None], str] = field(default_factory=dict)
    _numbers: dict[tuple[str, str, bool], int] = field(default_factory=dict)

    @property
    def tints(self) -> bool:
        """Whether tinted backgrounds are used: with 256 colours they would be too bright."""
        return self.depth == "true"

    def colour(self, role: str) -> str:
        """Return the hexadecimal colour of a role such as `text`, or of `text/0.2`: 20 % of it over the background."""
        role, _, share = role.partition("/")
        place = (0 if self.dark else 2) + (self.depth == "256")
        return _mix(ROLES["ground"][place], ROLES[role][place], float(share)) if share else ROLES[role][place]

    def ink(self, role: str, ground: str = "ground", bold: bool = False) -> int:
        """Return the number of the style with the colour of a role on the background of another."""
        key = (role, ground, bold)
        if (number := self._numbers.get(key)) is None:
            number = self._numbers[key] = len(self.styles)
            self.styles.append(self._style(*key))
            self._grounds.append(ground)
        return number

    def codes(self, number: int, color_system: str | None) -> str:
        """Return the parameters of the escape code that sets a style, each after a semicolon."""
        key = (number, color_system)
        if key not in self._codes:
            # only its parameters, as the caller puts a reset before them
            rendered = self.styles[number].render("x", color_system=SYSTEMS.get(color_system or ""))
            self._codes[key] = ";" + rendered[2 : rendered.index("m")] if rendered != "x" else ""
        return self._codes[key]

    def ground_of(self, number: int) -> str:
        """Return the background role of a style."""
        return self._grounds[number]

    def has_ground(self, ground: str) -> NDArray[np.bool_]:
        """Return, by style number, which styles have this background role."""
        return np.array([role == ground for role in self._grounds])

    def _style(self, role: str, ground: str, bold: bool) -> Style:
        if self.depth != "none":
            return Style(color=self.colour(role), bgcolor=self.colour(ground), bold=bold or None)
        # Textual fails on a segment whose style is null, so an attribute is always set
        plain = PLAIN.get(role.partition("/")[0], Style(bold=False))
        return (
            plain + Style(reverse=True)
            if ground not in ("ground",) and "/" not in ground
            else plain + Style(bold=bold or None)
        )


def curve_letter(place: int) -> str:
    """Return the letter of a compared curve, for terminals without colours."""
    return "abcdefghijklmnopqrstuvwxyz"[place % 26]


def _mix(ground: str, colour: str, share: float) -> str:
    share = min(1.0, max(0.0, share))
    parts = (
        round(int(ground[at : at + 2], 16) * (1 - share) + int(colour[at : at + 2], 16) * share) for at in (1, 3, 5)
    )
    return "#" + "".join(f"{part:02x}" for part in parts)


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
        # a number without its first digits would be another number
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
    # a wide or invisible character would move the rest of its row
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() and cell_len(char) == 1 else "·" for char in text)


def draw_bar(cells: Cells, x: int, end: int, y: int, share: float, colour: str) -> None:
    """Draw a bar from column x to `end`, filled to half a cell."""
    palette = cells.palette
    full, half = divmod(round(share * 2 * (end - x)), 2)
    # without colours the unfilled part is another character
    rest = "─" if palette.depth == "none" else "━"
    spans = [("━" * full, palette.ink(colour)), ("╸" * half, palette.ink(colour))]
    cells.put(x, y, *spans, (rest * (end - x - full - half), palette.ink("faint")), end=end)


def braille(dots: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return the bits (h, w) of the braille characters that show dots (4 h, 2 w)."""
    height, width = dots.shape[0] // 4, dots.shape[1] // 2
    blocks = dots.reshape(height, 4, width, 2).astype(np.uint32)
    bits: NDArray[np.uint32] = np.einsum("hiwj,ij->hw", blocks, DOT_BITS).astype(np.uint32)
    return bits
