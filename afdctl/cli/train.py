"""`afdctl train`: from a recipe, or from a stopped run, to a trained model."""

import re
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdctl import paths
from afdctl.cli import background, launch, process, training_process
from afdctl.cli.options import RECIPE, SET
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import RecipeError
from afdctl.formatting import shorten

if TYPE_CHECKING:
    from afdctl.recipe import Recipe

SEEDS = typer.Option(metavar="N,N,...", help="Train once with each of these seeds.")
RESUME = typer.Option(metavar="RUN", help="Resume a stopped run: its path, its name, or `latest`.")
NAME = typer.Option(help="The run's name; by default the recipe's, with a number.")
RUNS = typer.Option(parser=paths.path, help="The folder of the runs.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps; auto by default.", show_default=False)
DATA_DIR = typer.Option(
    parser=paths.path,
    help="The folder of the data sets; by default AFDCTL_DATA, or a cache folder.",
    show_default=False,
)
JSON = typer.Option("--json", help="Stream the journal to stdout, one JSON object per line.")
TUI = typer.Option("--tui/--no-tui", help="Dashboard or progress bar; by default the dashboard on a terminal.")
NPROC = typer.Option(min=1, help="Train on this many processes of this machine, with a GPU each.", show_default=False)
DETACH = typer.Option("--detach", help="Print the run's path once the training runs, and leave it in the background.")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of the command, checked as far as that needs neither the recipe nor a run."""

    recipe: str | None
    overrides: list[str]
    seeds: list[int]
    resume: str | None
    name: str | None
    runs: Path
    device: str | None
    data_dir: Path | None
    json: bool
    processes: int


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
    nproc: Annotated[int, NPROC] = 1,
    tui: Annotated[bool | None, TUI] = None,
    detach: Annotated[bool, DETACH] = False,
) -> None:
    """Train a recipe, measure clean and PGD accuracy on the test split, and print the run's path.

    On a terminal the dashboard opens, and the training continues if it is closed; see `afdctl watch`. Elsewhere, and
    with --no-tui, progress goes to stderr, and Ctrl-C saves and stops. stdout holds the path, or the journal with
    --json.
    """
    parent = background.parent_process()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # outside the training loop there is nothing new to save
    with launch.first_reports():
        _check_device(device)
        launch.check_options(nproc, tui=tui, detach=detach, seeds=seeds)
        if nproc > 1 or launch.inside_torchrun():
            tui = False
        in_background = parent is None and use_background(tui, detach=detach, json=json)
        options = TrainOptions(
            recipe=recipe,
            overrides=overrides or [],
            seeds=_parse_seeds(seeds),
            resume=resume,
            name=name,
            runs=runs,
            device=device,
            data_dir=data_dir,
            json=json,
            processes=nproc,
        )
        # the recipe is checked before a background process starts
        recipes = _load_recipes(options) if resume is None else []
    if resume is not None:
        _resume(options, parent, in_background=in_background, detach=detach)
    elif in_background:
        background.run_with_dashboard(detach=detach)
    elif nproc > 1:
        launch.run(nproc, device, recipes[0])
    elif launch.inside_torchrun():
        training_process.start(recipes[0], options)
    else:
        _start(recipes, options, parent)


def use_background(tui: bool | None, *, detach: bool, json: bool) -> bool:
    """Return whether the trainer is to be a process in the background."""
    if json and (tui or detach):
        raise RecipeError("--json streams the journal until the training ends; leave --tui and --detach out")
    if tui and detach:
        raise RecipeError("--detach starts without a dashboard; leave --tui out")
    if tui and not process.is_interactive():
        raise RecipeError("--tui needs a terminal on stdin and stderr; leave it out for plain lines")
    return detach or (tui is not False and not json and process.is_interactive())


def _load_recipes(options: TrainOptions) -> "list[Recipe]":
    """Load the recipe once for each seed, or once with its own seed."""
    if options.recipe is None:
        raise RecipeError("name a recipe, such as recipes/digits_wgan.toml, or a run with --resume")
    if options.name and len(options.seeds) > 1:
        raise RecipeError("--name names one run, --seeds makes several; leave --name out")
    from afdctl import recipe

    overrides = [[*options.overrides, f"seed={seed}"] for seed in options.seeds] or [options.overrides]
    return [recipe.load(options.recipe, values) for values in overrides]


def _start(recipes: "list[Recipe]", options: TrainOptions, parent: background.ParentProcess | None) -> None:
    """Make a run for each recipe, then train one after the other."""
    # torch takes seconds to import; by now the recipe is known to be valid
    with exit_on_interrupt():
        from afdctl import interrupts
        from afdctl.cli.progress import training_progress
        from afdctl.runs.run import Run
        from afdctl.training import setup

    stem = Path(options.recipe or "").stem
    with interrupts.raise_on_signal(), ExitStack() as stack:
        # all are reserved first: a name that is taken must not be found after hours of training
        runs = [stack.enter_context(Run.begin(options.runs, stem, options.name)) for _ in recipes]
        if parent:
            parent.report(runs=[str(run.path) for run, _ in runs])
        for recipe, (run, journal) in zip(recipes, runs, strict=True):
            if parent:
                parent.prepare_run()
            with training_progress(run, as_json=options.json) as on_line:
                setup.start(
                    recipe,
                    run,
                    journal,
                    device=setup.choose_device(options.device or "auto"),
                    data_dir=options.data_dir,
                    on_line=on_line,
                    on_ready=partial(parent.start_run, run) if parent else None,
                )
            # the next command of a pipe may write to the run once its path is printed
            journal.close()
            if not options.json:
                typer.echo(run.path)


def _resume(
    options: TrainOptions, parent: background.ParentProcess | None, *, in_background: bool, detach: bool
) -> None:
    """Resume a stopped run; only check and rebuild the files of a finished one."""
    with launch.first_reports():
        if options.recipe or options.overrides or options.seeds or options.name:
            raise RecipeError("--resume uses the run's own recipe; leave RECIPE, --set, --seeds and --name out")
        from afdctl.runs.run import Run

        run = Run.find(options.resume or "", options.runs)
    if launch.inside_torchrun():
        training_process.resume(run, options)
        return
    if run.finished:
        from afdctl.runs.record import verify_finished

        for warning in verify_finished(run):
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{run.path}: already finished; nothing to resume", err=True)
    elif in_background:
        background.run_with_dashboard(detach=detach)
        return
    elif options.processes > 1:
        launch.run(options.processes, options.device)
        return
    else:
        with exit_on_interrupt():
            from afdctl import interrupts
            from afdctl.cli.progress import training_progress
            from afdctl.training import setup

        if parent:
            parent.report(runs=[str(run.path)])
        with interrupts.raise_on_signal(), training_progress(run, as_json=options.json) as on_line:
            setup.resume(
                run,
                device=options.device,
                data_dir=options.data_dir,
                on_line=on_line,
                on_ready=partial(parent.start_run, run) if parent else None,
            )
    if not options.json:
        typer.echo(run.path)


def _parse_seeds(text: str | None) -> list[int]:
    if text is None:
        return []
    # 19 digits, as the largest 64-bit integer
    if not re.fullmatch(r"\s*[0-9]{1,19}\s*(,\s*[0-9]{1,19}\s*)*", text):
        raise RecipeError(f"--seeds '{shorten(text)}': must be whole numbers with commas between, such as 0,1,2")
    seeds = [int(number) for number in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"--seeds '{shorten(text)}': names a seed twice, which would train the same run twice")
    return seeds


def _check_device(device: str | None) -> None:
    # only its form: which devices exist is known once torch is imported
    if device is not None and not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise RecipeError(f"--device '{device}': must be auto, cpu, cuda, cuda:N or mps")
