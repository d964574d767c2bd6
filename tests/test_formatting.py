"""Text for people."""

import pytest

from afdctl.formatting import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a name, ε ≤ 8/255 日本\tand\n", "a name, ε ≤ 8/255 日本\tand\n"),
        ("\x1b]0;title\x07\r\x00\x7f", r"\x1b]0;title\x07\x0d\x00\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066\u200f", r"a\u202eb\u2066\u200f"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str):
    assert printable(text) == shown
