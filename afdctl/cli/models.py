"""`afdctl models`: list and show models to start from, and make one from a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli import options, output_path
from afdctl.cli.options import find_run
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import RecipeError
from afdctl.formatting import NORM_LABELS, format_bytes, format_epsilon, format_percent, shorten
from afdctl.image_counts import format_subset

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.runs.model_card import Metric, ModelCard, StoredModel

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

MODEL = typer.Argument(metavar="NAME", help="A packaged model by name, with or without `model:`, or a card's path.")
NAME = typer.Option(help="The model's name.")
LIMITS = typer.Option(metavar="TEXT", help="Limits of use, in a sentence or two; default: what was measured.")
OUT = output_path.option("--out", help="The folder of the two files; default: this one.", metavar="FOLDER")
# optional columns of `ls`, the first to be left out first
OPTIONAL = ("size", "parameters", "data set")


@app.command()
def ls(as_json: options.Json = False) -> None:
    """List the packaged models. `model:NAME` is a RUN of attack, sweep, analyze, export, watch and runs show."""
    from afdctl.runs.model_card import load, packaged

    models = [load(str(path)) for path in packaged().values()]
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "models": list(map(as_object, models))}))
        return
    if not models:
        typer.echo("no model is packaged; make one with `afdctl models add`", err=True)
        return

    from afdctl.cli.console import TableConsole

    console = TableConsole()
    console.print_dropping_columns(lambda optional: list_table(models, optional), len(OPTIONAL))
    console.print("In %, on n test images; AutoAttack at the epsilon, with its 95 % interval.", soft_wrap=True)


@app.command()
def show(model: Annotated[str, MODEL], as_json: options.Json = False) -> None:
    """Show a model's card: metrics, training, recipe."""
    from afdctl import recipe
    from afdctl.runs.model_card import load

    stored = load(model)
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", "model": as_object(stored)}))
        return

    from afdctl.cli.console import TableConsole

    card, console = stored.card, TableConsole()
    title = f"{stored.name}  {card.method} on {card.recipe.data.dataset}, seed {card.recipe.seed}"
    console.print(f"{title}: {card.parameters:,} parameters", soft_wrap=True)
    console.print(f"{card.limits}\n", soft_wrap=True)
    console.print(metrics_table(card.metrics))
    console.print(f"\n[training]\n{training_lines(card)}\n\n{recipe.dump(card.recipe)}", end="", soft_wrap=True)


@app.command()
def add(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run with AutoAttack results.")],
    name: Annotated[str, NAME],
    limits: Annotated[str | None, LIMITS] = None,
    out: Annotated[output_path.OutputPath | None, OUT] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the model's files.")] = False,
    folder: options.Runs = Path("runs"),
    data_dir: options.DataDir = None,
) -> None:
    """Make a model of a run's best checkpoint.

    Writes NAME.safetensors and its card NAME.toml, and prints the card's path. The weights are those that are evaluated
    (their average where the recipe has one). Metrics are the run's results at the epsilon of its training. Packaged
    models are in recipes/models/.
    """
    from afdctl.runs import files
    from afdctl.runs.folders import name_fault
    from afdctl.runs.record import Record

    if reason := name_fault(name):
        raise RecipeError(f"--name '{shorten(name)}': {reason}; use letters, digits, '-' and '_'")
    place = output_path.OutputPath(out.path if out else Path())
    card_path, weights_path = (place.within(f"{name}.{suffix}") for suffix in ("toml", "safetensors"))
    if taken := [path for path in (card_path, weights_path) if path.exists() and not force]:
        raise RecipeError(f"{taken[0]}: exists; choose another --name, or pass --force to overwrite it")
    record = Record.of(find_run(run, folder))

    with exit_on_interrupt():
        import torch

        from afdctl.evaluation.target import load_run_target
        from afdctl.export.weights.model import pack_model

    target = load_run_target(record.run, "best", torch.device("cpu"), data_dir)
    weights, card = pack_model(record, target, limits)
    files.write_bytes(weights_path, weights)
    # last: a card without its weights would be a damaged model
    files.write_text(card_path, card.dump())
    typer.echo(card_path)


def as_object(model: "StoredModel") -> dict[str, Any]:
    """Return what --json prints of a model."""
    card, size = model.card, model.weights_path.stat().st_size
    own = {"name": model.name, "dataset": card.recipe.data.dataset, "method": card.method, "seed": card.recipe.seed}
    return own | {"file": str(model.weights_path), "size": size} | card.model_dump(mode="json")


def list_table(models: "list[StoredModel]", optional: int) -> "Table":
    """Return the table of `ls` with `optional` of the columns that narrow terminals lack."""
    from rich.table import Table

    dropped = OPTIONAL[: len(OPTIONAL) - optional]
    table = Table()
    rows = [list_cells(model) for model in models]
    for heading in rows[0]:
        if heading not in dropped:
            right = heading in ("parameters", "size")
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell for heading, cell in row.items() if heading not in dropped))
    return table


def list_cells(model: "StoredModel") -> dict[str, str]:
    """Return a row of the table of `ls`."""
    from afdctl.runs.model_card import AUTOATTACK, CLEAN

    card, attack = model.card, model.card.recipe.attack
    clean, autoattack = card.metric(CLEAN), card.metric(AUTOATTACK)
    return {
        "name": model.name,
        "data set": card.recipe.data.dataset,
        "method": card.method,
        "epsilon": f"{NORM_LABELS[attack.norm]} {format_epsilon(attack.epsilon)}",
        "clean": f"{format_percent(clean.accuracy)} n={clean.n}",
        "AutoAttack": f"{format_interval(autoattack)} n={autoattack.n}",
        "parameters": f"{card.parameters:,}",
        "size": format_bytes(model.weights_path.stat().st_size),
    }


def format_interval(metric: "Metric") -> str:
    """Format an accuracy and its interval in percent: `83.3 (79.1 to 86.8)`."""
    low, high = format_percent(metric.low), format_percent(metric.high)
    return f"{format_percent(metric.accuracy)} ({low} to {high})"


def metrics_table(metrics: "tuple[Metric, ...]") -> "Table":
    """Return the table of a card's accuracies."""
    from rich.table import Table

    table = Table()
    for heading in ("attack", "epsilon", "accuracy (95 %)", "n", "suite"):
        table.add_column(heading, justify="right" if heading == "n" else "left")
    for metric in metrics:
        epsilon = f"{NORM_LABELS[metric.norm]} {format_epsilon(metric.epsilon)}" if metric.norm else ""
        changed = f" ({', '.join(metric.changed)} changed)" if metric.changed else ""
        suite = f"{metric.suite or ''}{changed}"
        table.add_row(metric.attack, epsilon, format_interval(metric), format_subset(metric.model_dump()), suite)
    return table


def training_lines(card: "ModelCard") -> str:
    """Return the training of a card, a line for each value."""
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in card.training if value is not None)
