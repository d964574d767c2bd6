"""One process of a training on several: the first one shows the progress and prints the run's path."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.launch import newest_run
from afdctl.cli.process import exit_on_interrupt

if TYPE_CHECKING:
    from afdctl.cli.train_options import TrainOptions
    from afdctl.recipe import Recipe
    from afdctl.runs.run import Run
    from afdctl.training.distributed import Processes


def start(recipe: "Recipe", options: "TrainOptions") -> None:
    """Train a recipe in a new run, or in that of this launch if torchrun has started it again."""
    with _joined(options) as (processes, device), ExitStack() as stack:
        from afdctl.journal.discarding import DiscardingJournal
        from afdctl.runs.run import Run
        from afdctl.training import setup
        from afdctl.training.distributed import check_batch

        run = journal = None
        with processes.together():
            # before a folder is made
            check_batch(recipe, processes.size)
            if processes.is_first and (run := _interrupted_run(options.runs, processes)) is None:
                run, journal = stack.enter_context(
                    Run.begin(options.runs, Path(options.recipe or "").stem, options.name)
                )
        path, resumes = processes.from_first((run and str(run.path), journal is None))
        run = Run(Path(path))
        if resumes:
            _resume(run, options, processes, device)
            return
        with _progress(run, options, processes) as on_line:
            setup.start(
                recipe,
                run,
                journal or DiscardingJournal(),
                device=setup.choose_device(device or "auto"),
                data_dir=options.data_dir,
                on_line=on_line,
                processes=processes,
            )
        if journal:
            journal.close()
        _print_path(run, options, processes)


def resume(run: "Run", options: "TrainOptions") -> None:
    """Resume a stopped run."""
    with _joined(options) as (processes, device):
        from afdctl.runs.run import Run

        # `latest` may be another run by the time that another process looks for it
        _resume(Run(Path(processes.from_first(str(run.path)))), options, processes, device)


def _resume(run: "Run", options: "TrainOptions", processes: "Processes", device: str | None) -> None:
    from afdctl.training import setup

    if not processes.from_first(run.finished):
        with _progress(run, options, processes) as on_line:
            setup.resume(run, device=device, data_dir=options.data_dir, on_line=on_line, processes=processes)
    _print_path(run, options, processes)


@contextmanager
def _joined(options: "TrainOptions") -> "Iterator[tuple[Processes, str | None]]":
    # torch takes seconds to import
    with exit_on_interrupt():
        from afdctl import interrupts
        from afdctl.training.distributed import join
    with interrupts.raise_on_signal(), join(options.device) as joined:
        yield joined


@contextmanager
def _progress(run: "Run", options: "TrainOptions", processes: "Processes") -> Iterator[Callable[[str], Any]]:
    from afdctl.cli.progress import training_progress

    if processes.is_first:
        with training_progress(run, as_json=options.json) as on_line:
            yield on_line
    else:
        yield lambda line: None


def _print_path(run: "Run", options: "TrainOptions", processes: "Processes") -> None:
    if processes.is_first and not options.json:
        typer.echo(run.path)


def _interrupted_run(root: Path, processes: "Processes") -> "Run | None":
    """Return the run that this launch has begun before a restart of its processes."""
    from afdctl.runs.provenance import command_line
    from afdctl.training.distributed import is_of_launch, is_restart

    def is_its(facts: Mapping[str, Any]) -> bool:
        # with the command, as a script may give all of its trainings one --rdzv-id
        return facts.get("command") == command_line() and is_of_launch(facts.get("launch"), processes)

    return newest_run(root, is_its) if is_restart() else None
