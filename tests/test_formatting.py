"""Test the formatting of numbers, durations and names."""

import math

import pytest

from afdctl.formatting import (
    did_you_mean,
    format_bytes,
    format_count,
    format_duration,
    format_epsilon,
    format_number,
    format_range,
    format_tick,
    one_line_error,
    printable,
    round_ticks,
    short_keys,
    shorten,
    shorten_list,
    with_article,
)
from afdctl.image_counts import describe_images, format_n, format_subset


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
def test_terminal_control_characters_are_escaped(text: str, shown: str):
    assert printable(text) == shown


def test_the_closest_name_is_suggested():
    assert did_you_mean("mnsit", {"mnist": 1, "cifar10": 2}) == "did you mean 'mnist'?"
    assert did_you_mean("imagenet", ["mnist", "cifar10"]) == "known: mnist, cifar10"
    assert did_you_mean("imagenet", ["mnist"], "see `afdctl data ls`") == "see `afdctl data ls`"


def test_a_long_text_is_cut_and_a_list_counted():
    assert shorten("a\nb") == r"a\nb"
    assert shorten("x" * 1234) == "x" * 80 + "... (1,234 characters)"
    assert shorten_list(["a", "b", "c"]) == "a, b, c"
    assert shorten_list(list("abcdefg")) == "a, b, c and 4 more"


def test_an_exception_is_one_line():
    assert one_line_error(ValueError("must\nbe \x1b[1m positive")) == "ValueError: must"
    assert one_line_error(KeyError("name")) == "KeyError: 'name'"
    assert len(one_line_error(ValueError("x" * 9999))) == 500


@pytest.mark.parametrize(
    ("epsilon", "shown"), [(0.3, "0.3"), (8 / 255, "8/255"), (0.0, "0"), (0.12345, "0.1235"), (1.0, "1")]
)
def test_an_epsilon_is_a_decimal_or_a_fraction_of_255(epsilon: float, shown: str):
    assert format_epsilon(epsilon) == shown


def test_numbers_of_images():
    assert (format_range([]), format_range([360, 360]), format_range([10_000, 500])) == ("", "360", "500 to 10,000")
    rows = [{"n": 360, "subset": "all"}, {"n": 100, "subset": "sample", "split_n": 360}]
    assert (format_n([]), format_n(rows[:1]), format_n(rows)) == ("", "n = 360", "n = 100 to 360, random sample")
    assert (format_count(1, "model"), format_count(2, "model")) == ("1 model", "2 models")
    assert format_count(1200, "step") == "1,200 steps"


def test_how_images_were_chosen_is_named():
    every, sample, first = (
        {"n": n, "subset": subset, "split_n": 10_000}
        for subset, n in (("all", 10_000), ("sample", 1000), ("first", 1000))
    )
    assert [format_subset(row) for row in (every, sample, first)] == ["10,000", "1,000 (random sample)", "first 1,000"]
    assert format_subset(first, "images") == "the first 1,000 images"
    assert describe_images([every, every]) == "10,000 test images"
    assert describe_images([sample]) == "1,000 of 10,000 test images, random sample"
    assert describe_images([first]) == "first 1,000 of 10,000 test images"
    # results of older versions
    assert describe_images([{"n": 200}, {"n": 100, "split_n": 200}]) == "100 of 200 test images and 200 test images"


def test_the_article_suits_the_noun():
    assert (with_article("tuple"), with_article("int")) == ("a tuple", "an int")


@pytest.mark.parametrize(
    ("count", "shown"),
    [(831, "831 B"), (999.6, "1.0 kB"), (4_200_000, "4.2 MB"), (99_600, "100 kB"), (2e15, "2000 TB")],
)
def test_bytes_are_in_units_of_1000(count: float, shown: str):
    assert format_bytes(count) == shown


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (0.0471, "0.047"),
        (12.34, "12.34"),
        (123.45, "123.5"),
        (4321.0, "4321"),
        (3e-5, "3.0e-05"),
    ],
)
def test_a_metric_has_three_to_four_digits(value: float | None, text: str):
    assert format_number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "--:--"), (41, "00:41"), (3725, "1:02:05"), (200_000, "2 d 7 h")])
def test_a_duration_has_the_units_that_matter(seconds: float | None, text: str):
    assert format_duration(seconds) == text


def test_keys_are_short_where_that_is_clear():
    assert short_keys(["defense.lr_F", "seed"]) == ["lr_F", "seed"]
    assert short_keys(["defense.name", "attack.name", "train.epochs"]) == ["defense.name", "attack.name", "epochs"]
