"""The analyses that a command asks for: which attacks and code they need, and their runs."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from afdctl import registry
from afdctl.cli import on_ray
from afdctl.cli.options import dataset_name, split_names
from afdctl.cli.process import exit_on_interrupt
from afdctl.formatting import format_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from afdctl.analysis.base import Analysis
    from afdctl.analysis.runner import AnalysisRunner
    from afdctl.cli.analyze import AnalyzeOptions
    from afdctl.cli.progress_reporter import ProgressReporter
    from afdctl.evaluation.plan import Task
    from afdctl.runs.run import Run
    from afdctl.suites.attack_config import AttackConfig

    AnalysisAttacks = tuple[AttackConfig, Sequence[AttackConfig], tuple[str, ...]]

Row = dict[str, Any]
# the attack whose strength the analyses vary (Figures 3a, A4, A6 to A8)
GRID_ATTACK: Final = "pgd_linf"


def load_own_analyses(options: "AnalyzeOptions") -> "dict[str, Analysis]":
    """Load the analyses of --analysis that are a user's own, with their settings."""
    from afdctl.recipe.toml_source import parse_assignments

    settings = parse_assignments(options.overrides or [], "key=value")
    names = [name for name in dict.fromkeys(options.own or []) if name not in registry.ANALYSES]
    if not names and not settings.values:
        return {}
    # their code imports torch
    with exit_on_interrupt():
        from afdctl.analysis.own import load_own
    return load_own(names, settings)


def needs_of(options: "AnalyzeOptions", own: "dict[str, Analysis]") -> set[str]:
    """Return the features that the analyses need: of natural images, under the grid attack, or under all attacks."""
    return {registry.ANALYSES[name].needs for name in options.analyses} | {one.needs for one in own.values()}


def load_attacks(
    options: "AnalyzeOptions", dataset: str, attacks: list[str], own: "dict[str, Analysis]"
) -> "AnalysisAttacks":
    """Load the attack whose strength varies, those that are compared, and what differs from the suite."""
    from afdctl.suites import load
    from afdctl.suites.attack_config import parse_grid

    # suites have no grid for a user's data set, and natural images need none
    unused = (0.0, 1.0) if needs_of(options, own) == {"natural"} else None
    epsilons = unused if options.epsilons is None else parse_grid(options.epsilons)
    suite = load.load(
        options.suite, dataset, attacks=[GRID_ATTACK], epsilons=epsilons, options=("--suite", "--epsilons")
    )
    (grid_attack,) = suite.attacks
    # kept with the result: one with other settings does not replace that of the suite
    changed = (*suite.changes(grid_attack), *(["attacks"] if attacks else []))
    return grid_attack, load.load(options.suite, dataset, attacks=attacks).attacks, changed


def make_runner(
    options: "AnalyzeOptions",
    run: "Run",
    device: "torch.device",
    attacks: "AnalysisAttacks",
    own: "dict[str, Analysis]",
) -> "AnalysisRunner":
    """Load a run's network and prepare its analyses."""
    from afdctl.analysis.base import AnalysisRequest
    from afdctl.analysis.divergence import load_discriminator
    from afdctl.analysis.runner import AnalysisRunner
    from afdctl.data.subset import Subset
    from afdctl.evaluation.target import load_run_target
    from afdctl.evaluation.time_estimate import choose_batch_size

    grid_attack, compared, changed = attacks
    target = load_run_target(run, options.checkpoint, device, options.data_dir)
    request = AnalysisRequest(
        names=[*options.analyses, *own],
        own=own,
        grid=grid_attack,
        attacks=compared,
        subset=Subset.of(len(target.split), limit=options.limit, first=options.first),
        seed=options.seed,
        points=options.points,
        changed=changed,
    )
    # the attacks that are compared run only where an analysis compares them
    used = [grid_attack, *(compared if "attacks" in needs_of(options, own) else [])]
    return AnalysisRunner(
        target,
        request,
        discriminator=load_discriminator(run, options.checkpoint, target),
        batch_size=options.batch_size or choose_batch_size(target, request.subset.n, used),
    )


def run_all(options: "AnalyzeOptions", runners: "Sequence[AnalysisRunner]", device: "torch.device") -> None:
    """Run the analyses of all runs, one run after the other; with --ray, workers attack the images of all."""
    from afdctl.cli.progress_reporter import progress_reporter
    from afdctl.interrupts import RESUME_HINT, StopRequests

    with ExitStack() as stack:
        requests, at_once = StopRequests(), 1
        if options.ray and any(runner.pending_tasks() for runner in runners):
            from afdctl.analysis.extraction import AttackAndExtract

            runs = [runner.target.run.path.resolve() for runner in runners]
            plan = partial(plan_on_node, options, list(map(str, runs)), device.type)
            batches, requests = stack.enter_context(
                on_ray.batches_on_ray(options, runs[0].parent, device, plan, AttackAndExtract)
            )
            at_once = batches.cluster.slots
            for number, runner in enumerate(runners, 1):
                runner.cache.executor = batches
                runner.later = [piece for other in runners[number:] for piece in other.pending_tasks()]
        reporter = stack.enter_context(progress_reporter())
        for runner in runners:
            requests.raise_if_stopped(RESUME_HINT)
            run_analyses(runner, reporter, at_once)


def plan_on_node(options: "AnalyzeOptions", folders: "Sequence[str]", device: str) -> "Sequence[Task]":
    """Plan the attacks of a command again, from the folders of its runs."""
    import torch

    from afdctl.runs.run import Run

    # the driver computes the analyses, has chosen the batch size, and draws the figures
    options = replace(options, own=None, batch_size=1, out=None)
    names, runners = split_names(options.attacks), []
    for run in map(Run, map(Path, folders)):
        attacks = load_attacks(options, dataset_name(run), names, {})
        runners.append(make_runner(options, run, torch.device(device), attacks, {}))
    return [task for runner in runners for task in runner.attacks]


def run_analyses(runner: "AnalysisRunner", reporter: "ProgressReporter", at_once: int) -> None:
    """Run the analyses of one run and report their progress; `at_once` batches are attacked at the same time."""
    from afdctl.cli.evaluation_progress import AnalysisProgress
    from afdctl.evaluation import time_estimate

    name, pending = runner.target.name, runner.pending_tasks()
    estimates = {}
    if pending:
        size = runner.cache.batch_size
        times = time_estimate.CallSeconds.of(runner.target, size)
        estimates = {task.block_key: time_estimate.task_seconds(task, size, times) for task in pending}
        attacks = ", ".join(dict.fromkeys(task.spec.title for task in pending))
        seconds = format_estimate(sum(estimates.values()) / at_once)
        images = f"features of {runner.request.subset.n:,} images under {attacks}"
        reporter.say(f"{name}: {images}: up to about {seconds} for the attacks")
    progress = AnalysisProgress(reporter, estimates)
    runner.run(progress.on_images, progress.on_analysis)
    for line in runner.shown_instead():
        reporter.say(f"{name}: {line}")


def rows_with_warnings(runner: "AnalysisRunner") -> dict[str, Row]:
    """Return the journal's row of each analysis with the warnings of the network's check."""
    warnings = {"warnings": runner.target.check.get("warnings", [])}
    return {name: row | warnings for name, row in runner.rows().items()}
