"""Test the help of the command line."""

import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from afdctl import __version__
from afdctl.cli import app
from tests.cli.conftest import Afdctl

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
        "verify",
        "bench",
        "runs",
        "recipes",
        "suites",
        "models",
        "data",
    ]


def test_help_imports_no_command():
    script = "import sys; from typer.testing import CliRunner; from afdctl.cli import app\n"
    script += "print(CliRunner().invoke(app, ['--help']).exit_code, 'pydantic' in sys.modules, 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "0 False False\n"


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
    ("command", "message"),
    [
        ("trian", "trian: no such command (did you mean 'train'?); see `afdctl --help`"),
        ("runs foo", "foo: no such command; see `afdctl runs --help`"),
        ("--nope", "--nope: no such option; see `afdctl --help`"),
        ("train --resum x", "--resum: no such option (did you mean --resume, --runs?); see `afdctl train --help`"),
        ("train a b", "unexpected: b; see `afdctl train --help`"),
        ("train --seeds", "--seeds: requires an argument"),
        ("attack --save=3", "--save: does not take a value"),
        ("recipes show", "RECIPE: missing; see `afdctl recipes show --help`"),
        ("sweep --limit 0", "--limit: must be at least 1; see `afdctl sweep --help`"),
        ("sweep --limit x", "--limit: must be a whole number; see `afdctl sweep --help`"),
        (
            "train x --gpus-per-task nan",
            "--gpus-per-task: must be a number from 0 to 1000000000; see `afdctl train --help`",
        ),
        ("watch --replay nan", "--replay: must be a number from 0.01 to 1000000; see `afdctl watch --help`"),
        *(
            (f"{command} --{kind}-per-task 1", f"--{kind}-per-task: needs --ray ADDRESS")
            for kind in ("cpus", "gpus")
            for command in (
                "train x",
                "train x --grid seed=0,1 --dry-run",
                "sweep",
                "attack --epsilon 0.1",
                "analyze --masking",
            )
        ),
        ("train x --trials 3", "--trials: needs --search optuna"),
        ("train x --grid seed=0,1 --trials 3", "--trials: needs --search optuna"),
        ("train x --grid seed=0,1 --search optuna", "--search: needs --trials N"),
        ("sweep --limit 99999999999", "--limit: must be at most 1000000000; see `afdctl sweep --help`"),
        ("watch --replay x", "--replay: must be a number from 0.01 to 1000000; see `afdctl watch --help`"),
    ],
)
def test_a_mistake_in_the_command_is_one_line_with_a_hint(afdctl: Afdctl, command: str, message: str):
    assert afdctl(*command.split()) == (2, "", f"error: {message}\n")


def test_no_command_shows_the_help():
    result = CliRunner().invoke(app, [], env=WIDE)
    assert result.exit_code == 2
    assert "Usage: " in result.output
