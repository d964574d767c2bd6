"""`afdctl bench` and `afdctl bench-sweep`: what trainings and evaluations cost on this machine."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from afdctl import files
from afdctl.cli import place
from afdctl.cli.imports import leaving_at_once
from afdctl.cli.options import RECIPE, SET

ATTACK_STEPS = typer.Option(
    min=1, max=10**6, help="Measure with so many attack steps; repeatable. By default the recipe's."
)
ROUNDS = typer.Option(min=2, max=10**6, help="How often each step is measured, in turn.")
TRACE = place.option("--profile", metavar="FILE.json", help="Also trace two steps; top operators on stderr.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps.")
JSON = typer.Option("--json", help="One JSON object instead of a table.")
RUN = typer.Argument(metavar="[RUN]", help="A run by path or name; by default the newest.")
ATTACKS = typer.Option(metavar="NAME,...", help="Only these attacks.")
PROFILE = typer.Option(help="strong, paper-A2, paper-notebook, or a file of your own.")
KNOBS = typer.Option("--set", metavar="KEY=VALUE", help="Set a knob of every attack, such as steps=20; repeatable.")
LIMIT = typer.Option(min=1, max=10**9, help="How many test images.")
BATCH = typer.Option(min=1, max=10**9, help="Images at a time, in both ways.")
RUNS = typer.Option("--runs", parser=files.path, help="The folder that holds the runs.")
DATA_DIR = typer.Option(
    parser=files.path, help="Where the data sets lie; by default where the run found them.", show_default=False
)


def bench(
    recipe: Annotated[str, RECIPE],
    overrides: Annotated[list[str] | None, SET] = None,
    attack_steps: Annotated[list[int] | None, ATTACK_STEPS] = None,
    rounds: Annotated[int, ROUNDS] = 9,
    trace: Annotated[place.Place | None, TRACE] = None,
    device: Annotated[str, DEVICE] = "auto",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Count what a recipe's step costs, measure it beside AFD, AT and TRADES, and say how long the training will take.

    Steps are taken in turn in one run, on random images; a ratio is the median of the pairs, with their middle half.
    """
    from afdctl import recipe as recipes

    chosen = recipes.load(recipe, overrides or [])
    if trace:
        trace.check()
    # the tracer's own messages are no business of the user's
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    with leaving_at_once():
        from afdctl.bench.report import measure
        from afdctl.cli import bench_tables
        from afdctl.train.start import choose_device

    where = choose_device(device)
    report = measure(chosen, attack_steps or [chosen.attack.steps], rounds, where)
    typer.echo(json.dumps(report)) if as_json else bench_tables.show(report)
    if trace:
        from afdctl.bench.trace import write

        path = trace.file("trace.json")
        typer.echo(write(chosen, where, path), err=True)
        typer.echo(f"{path}: open it at https://ui.perfetto.dev", err=True)


def bench_sweep(
    run: Annotated[str, RUN] = "latest",
    attacks: Annotated[str | None, ATTACKS] = None,
    profile: Annotated[str, PROFILE] = "paper-A2",
    overrides: Annotated[list[str] | None, KNOBS] = None,
    limit: Annotated[int, LIMIT] = 128,
    batch_size: Annotated[int, BATCH] = 128,
    folder: Annotated[Path, RUNS] = Path("runs"),
    device: Annotated[str, DEVICE] = "auto",
    data_dir: Annotated[Path | None, DATA_DIR] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Time a sweep against the way of the authors' published notebook, batch by batch in turn in one run.

    The notebook's way: foolbox with its list of epsilons, AutoAttack anew for each epsilon.
    """
    from afdctl.cli.named import dataset_of, find, names_of
    from afdctl.profile import load

    found = find(run, folder)
    chosen = load.load(profile, dataset_of(found), attacks=names_of(attacks), overrides=overrides or [])

    with leaving_at_once():
        from afdctl.bench import sweeps
        from afdctl.sweep import plan, subject
        from afdctl.train.start import choose_device

    attacked = subject.of_run(found, "best", choose_device(device), data_dir)
    report = sweeps.measure(plan.white_box([attacked], lambda _: chosen, seed=0, limit=limit), batch_size)
    typer.echo(json.dumps(report)) if as_json else sweep_table(report)


def sweep_table(report: dict[str, Any]) -> None:
    """Print the figures for people."""
    from rich.table import Table

    from afdctl.cli.accuracies import Stdout

    title = f"{report['model']}, {report['n']} images, {report['threads']} threads, against the notebook's way"
    shown = Table(title=title, title_justify="left")
    for heading in ("attack", "ours", "notebook", "ratio", "CPU ratio", "accuracy, points"):
        shown.add_column(heading, justify="left" if heading == "attack" else "right")
    for row in report["attacks"]:
        (ours, theirs), (cpu, their_cpu) = row["wall"], row["cpu"]
        least, most = row["differences"]
        differs = f"{100 * least:+.1f} to {100 * most:+.1f}"
        ratios = f"{ours / theirs:.2f}", f"{cpu / their_cpu:.2f}"
        shown.add_row(row["attack"], f"{ours:.1f}", f"{theirs:.1f}", *ratios, differs)
    for name, label in (("without_aa", "all but AutoAttack"), ("all", "all")):
        shown.add_row(label, "", "", f"{report[name]['wall']:.2f}", f"{report[name]['cpu']:.2f}", "", style="bold")
    Stdout().print(shown)
