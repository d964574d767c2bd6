"""Text for people."""

import math
import re
from collections.abc import Sequence

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, marks that turn text round, line separators, and halves of characters."""


def printable(text: str) -> str:
    r"""Replace what a terminal would obey by its escape, such as `\x1b`: the text may come from anybody's file."""
    return UNPRINTABLE.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""Escape all that is no visible letter on one line: `\n`, `\x1b`, spaces without width."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot hold: the bytes of a path that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def round_ticks(low: float, high: float, count: int, factors: Sequence[float] = (1, 2, 2.5, 5)) -> list[float]:
    """Return about `count` round values in [low, high]: multiples of one of `factors` times a power of ten."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    # a step that is too small by rounding alone is accepted
    step = next((factor * power for factor in factors if factor * power >= 0.999 * rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [multiple * step for multiple in range(first, last + 1)]


def format_tick(value: float) -> str:
    """Format the value of a tick briefly: `0.25`, `12k`, `2.5e-4`."""
    size = abs(value)
    if size < 1e-12:
        return "0"
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.4g}k"
    if size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
