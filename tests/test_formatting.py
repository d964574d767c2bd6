"""Text for people."""

import pytest

from afdctl.formatting import format_tick, printable, round_ticks


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


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.35, 5, [0, 0.1, 0.2, 0.3]),
        (0, 12, 5, [0, 2.5, 5, 7.5, 10]),
        (-1, 7, 5, [0, 2, 4, 6]),
        (3e5, 6e5, 5, [3e5, 4e5, 5e5, 6e5]),
        (1e-15, 4e-15, 3, [1e-15, 2e-15, 3e-15, 4e-15]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]):
    assert round_ticks(low, high, count) == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.05, "-0.05"),
        (25000, "25k"),
        (1.2e6, "1.2M"),
        (5e-5, "5e-5"),
        (2.5e-4, "2.5e-4"),
        (-1e-10, "-1e-10"),
    ],
)
def test_a_tick_keeps_the_digits_of_its_step(value: float, text: str):
    assert format_tick(value) == text
