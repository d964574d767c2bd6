"""`afdctl train`: from a recipe, or from a stopped run, to a trained model."""

import re
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl import paths
from afdctl.cli import background, terminal
from afdctl.cli.imports import leaving_at_once
from afdctl.cli.options import RECIPE, SET
from afdctl.errors import RecipeError
from afdctl.formatting import shorten

if TYPE_CHECKING:
    from afdctl.recipe import Recipe

SEEDS = typer.Option(metavar="N,N,...", help="Train once with each of these seeds.")
RESUME = typer.Option(metavar="RUN", help="Go on with a stopped run: its path, its name, or `latest`.")
NAME = typer.Option(help="The run's name; by default the recipe's, with a number.")
RUNS = typer.Option(parser=paths.path, help="The folder that holds the runs.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps; auto by default.", show_default=False)
DATA_DIR = typer.Option(
    parser=paths.path, help="Where the data sets lie; by default AFDCTL_DATA, or a cache folder.", show_default=False
)
JSON = typer.Option("--json", help="Stream the journal to stdout, one JSON object a line.")
TUI = typer.Option("--tui/--no-tui", help="The dashboard, or a progress bar; by default the dashboard on a terminal.")
DETACH = typer.Option("--detach", help="Print the run's path as soon as it trains, and leave it alone.")


def train(
    recipe: Annotated[str | None, RECIPE] = None,
    overrides: Annotated[list[str] | None, SET] = None,
    seeds: Annotated[str | None, SEEDS] = None,
    resume: Annotated[str | None, RESUME] = None,
    name: Annotated[str | None, NAME] = None,
    runs: Annotated[Path, RUNS] = Path("runs"),
    device: Annotated[str | None, DEVICE] = None,
    data_dir: Annotated[Path | None, DATA_DIR] = None,
    json: Annotated[bool, JSON] = False,
    tui: Annotated[bool | None, TUI] = None,
    detach: Annotated[bool, DETACH] = False,
) -> None:
    """Train a recipe, measure clean and PGD accuracy on the test split, and print the run's path.

    On a terminal a dashboard shows it, and the training outlives the terminal; see `afdctl watch`. Elsewhere, and with
    --no-tui, progress goes to stderr, and Ctrl-C saves and stops. stdout holds the path, or the journal with --json.
    """
    _check_device(device)
    starter = background.starter()
    apart = starter is None and _apart(tui, detach, json)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # outside of the loop there is nothing new to save
    if resume is None:
        chosen = _chosen(recipe, overrides or [], _numbers(seeds), name)
        if apart:
            background.run_with_dashboard(detach=detach)
        else:
            _start(chosen, Path(recipe or "").stem, name, runs, device, data_dir, json, starter)
    elif recipe or overrides or seeds or name:
        raise RecipeError("--resume goes on with the run's own recipe; leave RECIPE, --set, --seeds and --name out")
    else:
        _resume(resume, runs, device, data_dir, json, starter, apart=apart, detach=detach)


def _apart(tui: bool | None, detach: bool, json: bool) -> bool:
    """Whether the trainer is to be a process of its own."""
    if json and (tui or detach):
        raise RecipeError("--json streams the journal of a training that is waited for; leave --tui and --detach out")
    if tui and detach:
        raise RecipeError("--detach starts without a dashboard; leave --tui out")
    if tui and not terminal.interactive():
        raise RecipeError("--tui needs a terminal on stdin and stderr; leave it out for plain lines")
    return detach or (tui is not False and not json and terminal.interactive())


def _chosen(name_or_path: str | None, overrides: list[str], seeds: list[int], name: str | None) -> "list[Recipe]":
    """The recipes to train, checked."""
    if name_or_path is None:
        raise RecipeError("name a recipe, such as recipes/digits_wgan.toml, or a run with --resume")
    if name and len(seeds) > 1:
        raise RecipeError("--name names one run, --seeds makes several; leave --name out")
    return _recipes(name_or_path, overrides, seeds)


def _start(
    chosen: "list[Recipe]",
    stem: str,
    name: str | None,
    runs: Path,
    device: str | None,
    data_dir: Path | None,
    json: bool,
    starter: background.Starter | None,
) -> None:
    # torch takes seconds to import; by now the recipe is known to be right
    with leaving_at_once():
        from afdctl import interrupts
        from afdctl.cli.progress import training_progress
        from afdctl.runs.run import Run
        from afdctl.training import setup

    with interrupts.raise_on_signal(), ExitStack() as stack:
        begun = [stack.enter_context(Run.begin(runs, stem, name)) for _ in chosen]
        if starter:
            starter.tell(runs=[str(run.path) for run, _ in begun])
        for one, (run, journal) in zip(chosen, begun, strict=True):
            if starter:
                starter.await_run()
            with training_progress(json) as on_line:
                setup.start(
                    one,
                    run,
                    journal,
                    device=setup.choose_device(device or "auto"),
                    data_dir=data_dir,
                    on_line=on_line,
                    on_ready=partial(starter.on_begin, run) if starter else None,
                )
            journal.close()
            if not json:
                typer.echo(run.path)


def _resume(
    spec: str,
    runs: Path,
    device: str | None,
    data_dir: Path | None,
    json: bool,
    starter: background.Starter | None,
    *,
    apart: bool,
    detach: bool,
) -> None:
    from afdctl.journal import JournalOutline
    from afdctl.runs import checkpoints, results_file
    from afdctl.runs.run import Run

    run = Run.find(spec, runs)
    if run.finished:
        for warning in checkpoints.repair_best(run, JournalOutline(run.journal_path).rows):
            typer.echo(f"warning: {warning}", err=True)
        checkpoints.verify_pointed(run)
        results_file.build(run)  # a full disk may have kept the last one from being written
        typer.echo(f"{run.path}: finished already; there is nothing to go on with", err=True)
    elif apart:
        background.run_with_dashboard(detach=detach)
        return
    else:
        with leaving_at_once():
            from afdctl import interrupts
            from afdctl.cli.progress import training_progress
            from afdctl.training import setup

        if starter:
            starter.tell(runs=[str(run.path)])
        with interrupts.raise_on_signal(), training_progress(json) as on_line:
            setup.resume(
                run,
                device=device,
                data_dir=data_dir,
                on_line=on_line,
                on_ready=partial(starter.on_begin, run) if starter else None,
            )
    if not json:
        typer.echo(run.path)


def _recipes(name_or_path: str, overrides: list[str], seeds: list[int]) -> "list[Recipe]":
    """The recipe once for each seed, or once with its own."""
    from afdctl import recipe

    if not seeds:
        return [recipe.load(name_or_path, overrides)]
    return [recipe.load(name_or_path, [*overrides, f"seed={seed}"]) for seed in seeds]


def _numbers(seeds: str | None) -> list[int]:
    if seeds is None:
        return []
    if not re.fullmatch(r"\s*[0-9]{1,19}\s*(,\s*[0-9]{1,19}\s*)*", seeds):
        raise RecipeError(f"--seeds '{shorten(seeds)}': must be whole numbers with commas between, such as 0,1,2")
    numbers = [int(number) for number in seeds.split(",")]
    if len(set(numbers)) < len(numbers):
        raise RecipeError(f"--seeds '{shorten(seeds)}': names a seed twice, which would train the same run twice")
    return numbers


def _check_device(device: str | None) -> None:
    if device is not None and not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise RecipeError(f"--device '{device}': must be auto, cpu, cuda, cuda:N or mps")
