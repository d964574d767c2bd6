"""`afdctl train`: from a recipe, or from a stopped run, to a trained model."""

import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli import background, grid, launch, process, training_process
from afdctl.cli.options import takes
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.train_options import TrainOptions
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    from afdctl.recipe import Recipe


@takes(TrainOptions)
def train(options: TrainOptions) -> None:
    """Train a recipe, measure clean and PGD accuracy on the test split, and print the run's path.

    On a terminal the dashboard opens, and the training continues if it is closed; see `afdctl watch`. Elsewhere, and
    with --no-tui, progress goes to stderr, and Ctrl-C saves and stops. stdout holds the path, or the journal with
    --json. --grid trains every combination; repeated, it continues, also in several processes at once.
    """
    parent = background.parent_process()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # outside the training loop there is nothing new to save
    with launch.first_reports():
        options.check()
        if options.recipe is None and options.resume is None:
            raise RecipeError("name a recipe, such as recipes/digits_wgan.toml, or a run with --resume")
    if options.grid:
        grid.train(options)
        return
    with launch.first_reports():
        tui = False if options.nproc > 1 or launch.inside_torchrun() else options.tui
        in_background = parent is None and use_background(tui, detach=options.detach, json=options.json)
        # the recipe is checked before a background process starts
        recipes = _load_recipes(options) if options.resume is None else []
    if options.resume is not None:
        _resume(options, parent, in_background=in_background)
    elif in_background:
        background.run_with_dashboard(detach=options.detach)
    elif options.nproc > 1:
        launch.run(options, recipe=recipes[0])
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
    seeds, given = options.seed_numbers, options.overrides or []
    if options.name and len(seeds) > 1:
        raise RecipeError("--name names one run, --seeds makes several; leave --name out")
    from afdctl import recipe

    overrides = [[*given, f"seed={seed}"] for seed in seeds] or [given]
    return [recipe.load(options.recipe or "", values) for values in overrides]


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


def _resume(options: TrainOptions, parent: background.ParentProcess | None, *, in_background: bool) -> None:
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
        background.run_with_dashboard(detach=options.detach)
        return
    elif options.nproc > 1:
        launch.run(options, resumed=run.path)
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
