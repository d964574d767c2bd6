"""Commands that take their options as one dataclass."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from afdctl.cli.options import takes


@dataclass(frozen=True, kw_only=True)
class Shared:
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None
    seed: Annotated[int, typer.Option(min=0, help="The seed.")] = 0


@dataclass(frozen=True, kw_only=True)
class Own(Shared):
    epsilon: Annotated[str | None, typer.Option(metavar="E", help="The radius.")] = None


@takes(Own)
def command(options: Own) -> None:
    """Do something."""
    typer.echo(repr(options))


app = typer.Typer(rich_markup_mode=None)
app.command()(command)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], Own()),
        (["a", "b", "--seed", "3"], Own(names=["a", "b"], seed=3)),
        (["--epsilon", "8/255", "a"], Own(names=["a"], epsilon="8/255")),
    ],
)
def test_each_field_is_an_option(arguments: list[str], expected: Own):
    assert CliRunner().invoke(app, arguments).output.strip() in (
        repr(expected),
        repr(expected).replace("None", "[]", 1),
    )


def test_values_are_checked_as_typer_checks_them():
    result = CliRunner().invoke(app, ["--seed", "-1"])
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_the_help_has_own_options_before_shared_ones():
    text = CliRunner().invoke(app, ["--help"]).output
    assert text.index("[NAME]...") < text.index("--epsilon E") < text.index("--seed")
    assert "Do something." in text
