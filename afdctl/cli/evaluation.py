"""What `attack` and `sweep` do: from the wishes of the command line to figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli.arguments import dataset_of, find_runs, numbers, run_names
from afdctl.cli.imports import leaving_at_once
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, format_count

if TYPE_CHECKING:
    import torch

    from afdctl.evaluation.plan import Task
    from afdctl.evaluation.target import EvaluationTarget
    from afdctl.journal import Row
    from afdctl.runs.run import Run
    from afdctl.suites.load import Suite

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class EvaluateOptions:
    """The command line's wishes."""

    runs: list[str]
    sources: list[str]
    matrix: bool
    folder: Path
    checkpoint: str
    limit: int | None
    seed: int
    batch_size: int | None
    precision: str
    save: bool
    device: str
    data_dir: Path | None
    json: bool
    model: str | None
    weights: Path | None
    dataset: str | None
    mean: str | None
    std: str | None
    image_size: int | None


def evaluate(wanted: EvaluateOptions, suite_for: "Callable[[str], Suite]") -> None:
    """Attack, and print tables or JSON; `suite_for` gives a data set's attacks."""
    check_model_options(wanted)
    if wanted.precision not in PRECISIONS:
        raise RecipeError(f"--precision {wanted.precision}: must be {' or '.join(PRECISIONS)}")
    targets = [find_runs(spec, wanted.folder) for spec in run_names(wanted.runs)] if wanted.model is None else []
    origins = [find_runs(spec, wanted.folder) for spec in wanted.sources]
    # every mistake in a suite shows before torch is imported, which takes seconds
    suites = {name: suite_for(name) for name in {wanted.dataset or "", *map(dataset_of, [*targets, *origins])} - {""}}

    with leaving_at_once():
        from afdctl.cli import evaluation_tables
        from afdctl.cli.sweep_progress import sweep_progress
        from afdctl.evaluation import time_estimate
        from afdctl.evaluation.runner import SweepRunner
        from afdctl.training.setup import choose_device

    device = choose_device(wanted.device)
    subjects, sources = load_subjects(wanted, targets, origins, device)
    check_precision(wanted, [*subjects, *sources])
    warn([*subjects, *sources], suites)
    refuse_too_large([*subjects, *sources], suites)
    tasks = [task.searched_in(wanted.precision) for task in plan(wanted, subjects, sources, suites)]
    sweep = SweepRunner(
        tasks,
        suite=next(iter(suites.values())).name,
        save_images=wanted.save,
        batch_size=wanted.batch_size
        or time_estimate.batch_size_for(subjects[0], tasks[0].n, [task.spec for task in tasks]),
    )
    left = sweep.left()
    estimates = time_estimate.estimated_seconds(left, sweep.batch_size)
    typer.echo(outline(sweep.tasks, left, sum(estimates.values()), str(device)), err=True)
    if left:
        typer.echo(f"watch it with: afdctl watch {' '.join(str(run.path) for run in sweep.targets.values())}", err=True)
    with sweep_progress(estimates) as sweep.on_row:
        rows = sweep.run()
    say_hidden(sweep.hidden())
    evaluation_tables.show(sweep.tasks, rows, wanted.json, sweep.suite)


def say_hidden(cells: "list[tuple[str, Row, Row]]") -> None:
    """Name the attacks whose results here are not those that the runs' tables, figures and results.h5 show."""
    lines = []
    for run, cell, shown in cells:
        ours, theirs = described(cell), described(shown)
        differing = [place for place in range(len(ours)) if ours[place] != theirs[place]]
        other, this = (", ".join(of[place] for place in differing) for of in (theirs, ours))
        lines.append(f"{run}: tables, figures and results.h5 keep {cell['attack']} of {other}, not this of {this}")
    for line in dict.fromkeys(lines):
        typer.echo(line, err=True)


def described(cell: "Row") -> tuple[str, ...]:
    """What decides which of two results counts, in words."""
    settings = f"{' and '.join(cell['changed'])} changed" if cell["changed"] else "the suite's own settings"
    return (
        f"{cell['n']:,} images",
        f"checkpoint {cell['checkpoint'][:8]}",
        settings,
        cell["precision"],
        f"suite {cell['suite']}",
        f"seed {cell['seed']}",
    )


def outline(tasks: "Sequence[Task]", left: "Sequence[Task]", seconds: float, device: str) -> str:
    """What there is to do: `2 models, 9 attacks: 78 cells, 12 done already, up to about 14 min on cpu`."""
    from afdctl.cli.sweep_progress import duration

    cells, to_do = (sum(len(task.cells()) for task in some) for some in (tasks, left))
    models = len({target.digest for task in tasks for target in task.targets})
    attacks = len({task.spec.title for task in tasks})
    done = f", {cells - to_do} done already" if to_do < cells else ""
    time = f", up to about {duration(seconds)} on {device}" if to_do else ""
    counts = f"{format_count(models, 'model')}, {format_count(attacks, 'attack')}: {format_count(cells, 'cell')}"
    return f"{counts}{done}{time}"


def plan(
    wanted: EvaluateOptions,
    subjects: "list[EvaluationTarget]",
    sources: "list[EvaluationTarget]",
    suites: "dict[str, Suite]",
) -> "list[Task]":
    """White-box tasks, or transfers where sources are named."""
    from afdctl.evaluation import plan as plans

    def suite_of(subject: "EvaluationTarget") -> "Suite":
        return suites[subject.dataset]

    if wanted.matrix:
        if len(subjects) < 2:
            raise RecipeError("--matrix: name at least two runs; each is attacked with the others' images")
        return plans.transfer(subjects, subjects, suite_of, wanted.seed, wanted.limit)
    if not sources:
        return plans.white_box(subjects, suite_of, wanted.seed, wanted.limit)
    tasks = plans.transfer(sources, subjects, suite_of, wanted.seed, wanted.limit)
    if not tasks:
        raise RecipeError("--from: names the run that is attacked; leave --from out for a white-box attack")
    return tasks


def load_subjects(
    wanted: EvaluateOptions, targets: "list[Run]", sources: "list[Run]", device: "torch.device"
) -> "tuple[list[EvaluationTarget], list[EvaluationTarget]]":
    """The networks that are attacked, and those that the images are made against."""
    from afdctl.evaluation import target

    loaded = {
        run.path.resolve(): target.load_run_target(run, wanted.checkpoint, device, wanted.data_dir)
        for run in [*targets, *sources]
    }
    if len({found.name for found in loaded.values()}) < len(loaded):
        raise RecipeError("two of the runs have the same name, which tables could not tell apart; rename a folder")
    if wanted.model is None:
        chosen = [loaded[path] for path in dict.fromkeys(run.path.resolve() for run in targets)]
    else:
        chosen = [own_model(wanted, device)]
    return chosen, [loaded[run.path.resolve()] for run in sources]


def own_model(wanted: EvaluateOptions, device: "torch.device") -> "EvaluationTarget":
    """The model that --model names."""
    from afdctl.evaluation import target

    assert wanted.model is not None
    assert wanted.dataset is not None
    mean, std = numbers(wanted.mean, "--mean"), numbers(wanted.std, "--std")
    typer.echo(f"executing {wanted.model.rpartition(':')[0] or wanted.model} to build the model", err=True)
    return target.load_user_target(
        wanted.model,
        wanted.weights,
        mean,
        std,
        wanted.dataset,
        wanted.folder,
        device,
        wanted.data_dir,
        wanted.image_size,
    )


def check_precision(wanted: EvaluateOptions, subjects: "list[EvaluationTarget]") -> None:
    """RecipeError for a model that cannot be searched in the precision that is wanted."""
    from afdctl.data.loader import as_floats
    from afdctl.evaluation import sanity_checks

    if wanted.precision != "float32":
        for subject in subjects:
            sanity_checks.check_precision(subject.network, as_floats(subject.split.x[:2]), wanted.precision)


def warn(subjects: "list[EvaluationTarget]", suites: "dict[str, Suite]") -> None:
    """Say what speaks against the figures, once."""
    from afdctl.evaluation import warnings

    lines = [f"{subject.name}: {line}" for subject in subjects for line in subject.warnings]
    for subject in subjects:
        lines += subject.notes
        lines += warnings.of_attacks(suites[subject.dataset].attacks, subject.classes)
    for line in dict.fromkeys(lines):
        typer.echo(f"warning: {line}", err=True)


def refuse_too_large(subjects: "list[EvaluationTarget]", suites: "dict[str, Suite]") -> None:
    """RecipeError for a ball that holds every image there is."""
    for subject in subjects:
        pixels = subject.split.x[0].numel()
        for spec in suites[subject.dataset].attacks:
            widest = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[spec.norm]
            if spec.epsilons[-1] > widest:
                raise RecipeError(
                    f"{spec.title}: epsilon {spec.epsilons[-1]:g} is more than any two images of {subject.dataset} "
                    f"differ by ({widest:g})"
                )


def check_model_options(wanted: EvaluateOptions) -> None:
    """Options that only make sense with --model, or not with it."""
    if wanted.matrix and wanted.sources:
        raise RecipeError("--matrix: attacks each run with all others' images; leave --from out")
    if wanted.model is None:
        given = {
            "--weights": wanted.weights,
            "--dataset": wanted.dataset,
            "--mean": wanted.mean,
            "--std": wanted.std,
            "--image-size": wanted.image_size,
        }
        for option, value in given.items():
            if value is not None:
                raise RecipeError(f"{option}: goes with --model; a run brings its own")
        return
    if wanted.runs:
        raise RecipeError("--model: names a model of your own; leave RUN out")
    if wanted.dataset is None:
        raise RecipeError("--model: needs --dataset, whose test images it classifies (see `afdctl data ls`)")
    if wanted.dataset not in registry.DATASETS:
        hint = did_you_mean(wanted.dataset, registry.DATASETS)
        raise RecipeError(f"--dataset '{wanted.dataset}': no such data set ({hint})")
