"""`afdctl recipes`: list, show, copy and check recipes."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli import output_path
from afdctl.cli.options import RECIPE, SET
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    from afdctl.recipe import Recipe

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

ROW_FORMAT = "{name:<24}{dataset:<16}{method:<14}{epsilon:<10}{attack:<10}{steps:<8}{epochs}"
HEADINGS = {key: key for key in ("name", "method", "epsilon", "attack", "steps", "epochs")} | {"dataset": "data set"}
AS_JSON = typer.Option("--json", help="Print JSON.")


@app.command("ls")
def ls(as_json: Annotated[bool, AS_JSON] = False) -> None:
    """List the packaged recipes."""
    from afdctl.recipe import load, packaged

    # resolved, as most values come from the recipes that a file extends
    rows = [summary(name, load(str(path))) for name, path in packaged().items()]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "recipes": rows}))
    else:
        typer.echo(ROW_FORMAT.format(**HEADINGS))
        typer.echo("\n".join(map(format_row, rows)))


def summary(name: str, recipe: "Recipe") -> dict[str, Any]:
    """Return the values of a recipe that `ls --json` prints; its table has the method in place of the defense."""
    return {
        "name": name,
        "dataset": recipe.data.dataset,
        "defense": recipe.defense.name,
        "method": recipe.method,
        "epsilon": recipe.attack.epsilon,
        "attack": recipe.attack.name,
        "steps": recipe.attack.steps,
        "epochs": recipe.train.epochs,
    }


def format_row(row: Mapping[str, Any]) -> str:
    """Format a line of the table of `ls`."""
    return ROW_FORMAT.format(**{**row, "epsilon": f"{row['epsilon']:.3g}"})


@app.command("show")
def show(
    recipe: Annotated[str, RECIPE],
    overrides: Annotated[list[str] | None, SET] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Print a recipe with every value: after `extends`, presets and overrides."""
    from afdctl.recipe import digest, dump, load

    resolved = load(recipe, overrides or ())
    if as_json:
        document = {"schema": "afdctl/1", "digest": digest(resolved), "recipe": resolved.model_dump(mode="json")}
        typer.echo(json.dumps(document))
    # in a pipe the output is a recipe that can be saved, so it has no colours
    elif sys.stdout.isatty():
        from rich.syntax import Syntax

        from afdctl.cli.console import Console

        Console().print(Syntax(dump(resolved), "toml", theme="ansi_dark", background_color="default"))
    else:
        typer.echo(dump(resolved), nl=False)


@app.command("cp")
def cp(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A packaged recipe's name.")],
    to: Annotated[output_path.OutputPath | None, output_path.DEST] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite DEST.")] = False,
) -> None:
    """Copy a packaged recipe with its comments, to edit it; the copy works in any folder."""
    from afdctl.recipe import find

    typer.echo(output_path.copy(find(name), to, force=force))


@app.command("validate")
def validate(files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recipes to check.")]) -> None:
    """Check recipes and print every problem; exit code 2 if there is one."""
    from afdctl.recipe import load

    # all files are checked, so that one command shows every mistake
    valid = True
    for file in files:
        try:
            load(file)
        except RecipeError as error:
            valid = False
            typer.echo("\n".join(f"error: {problem}" for problem in str(error).split("\n")), err=True)
        else:
            typer.echo(f"ok {file}")
    if not valid:
        raise typer.Exit(RecipeError.exit_code)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of recipe files, for editors that complete and check TOML."""
    from afdctl.recipe import file_schema

    typer.echo(json.dumps(file_schema(), indent=2))
