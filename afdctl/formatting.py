"""Text for people."""

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


def format_square_accuracy(accuracy: object) -> str:
    """Format the accuracy after Square that follows a PGD accuracy; empty if Square did not run."""
    return f", then Square {accuracy:.1%}" if isinstance(accuracy, int | float) else ""


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
