"""Test the help of the command line."""

import re
from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from afdctl import __version__
from afdctl.cli import app

WIDE = {"COLUMNS": "120", "TERMINAL_WIDTH": "120"}


def say(*arguments: str, env: Mapping[str, str] = WIDE) -> str:
    result = CliRunner().invoke(app, arguments, env=env)
    assert result.exit_code == 0
    return result.stdout


def test_version():
    assert say("--version") == f"afdctl {__version__}\n"


def test_help_lists_the_commands():
    assert re.findall(r"^  ([a-z][a-z-]+)  ", say("--help"), re.M) == [
        "train",
        "watch",
        "attack",
        "sweep",
        "analyze",
        "export",
        "bench",
        "runs",
        "recipes",
        "suites",
        "data",
    ]


def test_the_help_of_train_names_every_option_and_what_it_prints():
    text = say("train", "--help")
    options = set(re.findall(r"(?<=[│ ])--[a-z-]+", text))
    assert options >= {
        "--set",
        "--seeds",
        "--resume",
        "--name",
        "--runs",
        "--device",
        "--data-dir",
        "--json",
        "--detach",
        "--tui",
        "--no-tui",
    }
    assert "train [OPTIONS] [RECIPE]" in text
    assert "stdout holds the path, or the journal with --json" in text


@pytest.mark.parametrize("arguments", [["-h"], ["train", "-h"], ["runs", "-h"], ["recipes", "-h"], ["data", "-h"]])
def test_help_has_a_short_form(arguments: list[str]):
    assert say(*arguments) == say(*arguments[:-1], "--help")


def test_help_has_no_escape_codes_without_colour():
    assert "\x1b" not in say("train", "--help", env=WIDE | {"NO_COLOR": "1"})


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["trian"], "Did you mean 'train'?"), (["train", "--resum", "x"], "--resume"), (["train", "a", "b"], "(b)")],
)
def test_a_mistyped_command_or_option_is_a_usage_error_with_a_hint(arguments: list[str], hint: str):
    result = CliRunner().invoke(app, arguments, env=WIDE)
    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in result.stderr


def test_no_command_shows_the_help():
    result = CliRunner().invoke(app, [], env=WIDE)
    assert result.exit_code == 2
    assert "Usage: " in result.output
