"""Format values, names and untrusted text for people."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from traceback import format_exception_only
from typing import Final

# control characters except tab and line feed, bidirectional marks, line separators, and lone surrogates
UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# characters of a user's text, and of an exception's message, that a message quotes
QUOTED_CHARACTERS: Final = 80
EXCEPTION_CHARACTERS: Final = 500
# items of a list that a message names
LISTED_ITEMS: Final = 3
NORM_LABELS: Final[Mapping[str, str]] = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}


def printable(text: str) -> str:
    r"""Escape characters that control a terminal, such as `\x1b`; the text may come from any file."""
    return UNPRINTABLE.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""Escape every character that is not visible on one line: `\n`, `\x1b`, spaces without width."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode, such as the bytes of a path that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def describe_short_reach(attack: str, steps: int, reach: float, needed: float) -> str | None:
    """Say that an attack's steps cannot cross its ball; None where they can.

    `reach` is the length of all steps, `needed` the way to the far side of the ball, both in units of epsilon.
    """
    # a step of 0.1 / 4 takes exactly four steps, apart from rounding
    if reach >= needed * (1 - 1e-9):
        return None
    reached = "step reaches" if steps == 1 else f"{steps:,} steps reach"
    return f"{attack}: its {reached} {reach:.2f} epsilon, and crossing the ball takes {needed:g} epsilon"


def shorten(text: str) -> str:
    """Format a user's text on one line; a long text is cut and followed by its length."""
    start = one_line(text[:QUOTED_CHARACTERS])
    return start if len(text) <= QUOTED_CHARACTERS else f"{start}... ({len(text):,} characters)"


def shorten_list(items: Sequence[str]) -> str:
    """Join the first few items, and count the others: `a, b, c and 4 more`."""
    more = f" and {len(items) - LISTED_ITEMS} more" if len(items) > LISTED_ITEMS else ""
    return ", ".join(items[:LISTED_ITEMS]) + more


def join_words(words: Sequence[str]) -> str:
    """Join words as in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def one_line_error(error: BaseException) -> str:
    """Format an exception as one line, such as `ValueError: must be positive`."""
    first, *more = map(str.strip, format_exception_only(error)[-1].strip().splitlines())
    line = f"{first} {more[0]}" if more and first.endswith(":") else first
    return one_line(line[:EXCEPTION_CHARACTERS])


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Suggest the known name closest to `name`; without a close one return `otherwise`, or list all known names."""
    names = list(known)
    if matches := get_close_matches(name, names, n=1):
        return f"did you mean '{matches[0]}'?"
    return f"known: {', '.join(names)}" if otherwise is None else otherwise


def format_epsilon(epsilon: float) -> str:
    """Format an epsilon as a short decimal, or as `8/255` where it is a whole number of pixel levels."""
    levels = epsilon * 255
    if float(f"{epsilon:.3g}") == epsilon or abs(levels - round(levels)) > 1e-6:
        return f"{epsilon:.4g}"
    return f"{levels:.0f}/255"


def format_range(numbers: Iterable[int]) -> str:
    """Format `360`, or `500 to 10,000` where the numbers differ; empty for none."""
    ordered = sorted(set(numbers))
    return " to ".join(f"{number:,}" for number in (ordered[:1] + ordered[1:][-1:]))


def format_images(count: int) -> str:
    """Format a number of images briefly, for the cell of a table: `360`, `10k`; never rounded."""
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def format_count(count: int, noun: str) -> str:
    """Format a count with its noun: `1 model`, `1,200 models`."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun or a type's name: `a tuple`, `an int`."""
    return f"{'an' if noun.lower().startswith(tuple('aeiou')) else 'a'} {noun}"


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


def format_estimate(seconds: float) -> str:
    """Format an estimated time in the unit that a person would use: `45 s`, `12 min`, `3.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_bytes(count: float) -> str:
    """Format a size in units of 1000 bytes: `831 B`, `4.2 MB`."""
    unit = "B"
    for larger_unit in ("kB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger_unit
    return f"{count:.0f} {unit}" if count >= 99.5 or unit == "B" else f"{count:.1f} {unit}"


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


def format_percent(fraction: float | None) -> str:
    """Format a fraction in percent; None is empty."""
    return "" if fraction is None else f"{100 * fraction:.1f}"


def format_minute(time: str | None) -> str:
    """Format an ISO time as `2026-11-24 09:17`; None is empty."""
    return "" if time is None else time[:16].replace("T", " ")


def format_value(value: object) -> str:
    """Format a value of a recipe or a result much as TOML does; a dash for None."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def short_keys(keys: Iterable[str]) -> list[str]:
    """Return the last parts of a recipe's keys, such as `lr_F`; where two keys have the same, both in full."""
    parts = {key: key.rpartition(".")[2] for key in keys}
    return [part if list(parts.values()).count(part) == 1 else key for key, part in parts.items()]
