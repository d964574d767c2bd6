"""Colours by role: for 24 bits, for 256 colours and for none, on dark and on light terminals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.color import ColorSystem
from rich.style import Style

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
