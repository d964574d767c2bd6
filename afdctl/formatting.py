"""Text for people."""

import math
import re

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


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def format_number(value: float | None) -> str:
    """Format a metric with three to four significant digits; a dash for None and for values that are not finite."""
    if value is None or not math.isfinite(value):
        return "—"
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-4:
        return f"{value:.1e}"
    decimals = next((decimals for limit, decimals in ((1000, 0), (100, 1), (10, 2)) if size >= limit), 3)
    return f"{value:.{decimals}f}"


def format_duration(seconds: float | None) -> str:
    """Format as minutes and seconds, hours, or days and hours; `--:--` where it is unknown."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "--:--"
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60:02d}:{whole % 60:02d}"


def format_bytes(number: float) -> str:
    """Format a number of bytes in units of 1000."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if number >= 100 or units[0] == "B" else f"{number:.1f} {units[0]}"
