"""`afdctl analyze`: what a training did to the features."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl import registry
from afdctl.cli import masking, output_path
from afdctl.cli import options as shared
from afdctl.cli.evaluation import EvaluateOptions, print_warnings
from afdctl.cli.options import dataset_name, find_targets, run_names, split_names, takes
from afdctl.cli.output_path import OutputPath
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import RecipeError
from afdctl.formatting import format_estimate
from afdctl.image_counts import check_images

if TYPE_CHECKING:
    import torch

    from afdctl.analysis.base import Analysis
    from afdctl.analysis.runner import AnalysisRunner
    from afdctl.cli.console import ProgressReporter
    from afdctl.runs.run import Run
    from afdctl.suites.attack_config import AttackConfig

    AnalysisAttacks = tuple[AttackConfig, Sequence[AttackConfig], tuple[str, ...]]

Row = dict[str, Any]

DEFAULT_ANALYSES = ("pca", "units", "sensitivity", "norms")
# the attack whose strength the analyses vary (Figures 3a, A4, A6 to A8)
GRID_ATTACK = "pgd_linf"

PCA = typer.Option("--pca", help="Principal components that hold 99 % of the variance of z (Table A4).")
UNITS = typer.Option("--units", help="Features that are non-zero for some image (Table A4).")
SENSITIVITY = typer.Option("--sensitivity", help="How far PGD-Linf moves the features (Figure A4).")
TSNE = typer.Option("--tsne", help="Natural and adversarial features in two dimensions (Figures A6 to A8).")
UMAP = typer.Option("--umap", help="The same by UMAP (pip install 'afdctl[umap]').")
HDH = typer.Option("--hdh", help="Three estimates of d_HdH against the gap, and the bound of Eq. 5 (Figure 3).")
MASKING = typer.Option("--masking", help="Is it robust, or does it only look so? Ten indicators; runs what they lack.")
STORED = typer.Option("--stored", help="With --masking: judge stored results only; attack nothing.")
THRESHOLDS = typer.Option(metavar="FILE", help="With --masking: TOML with other thresholds; --set changes some.")
NORMS = typer.Option("--norms", help="Feature norms, logit scales and margins.")
OWN = typer.Option("--analysis", metavar="FILE.py:NAME", help="An analysis of your own, or by name; repeatable.")
SETTINGS = typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of your own analyses; repeatable.")
ATTACKS = typer.Option(metavar="NAME,...", help="The attacks that --hdh compares; default: all of the suite.")
EPSILONS = typer.Option(metavar="GRID", help="Use this grid of PGD-Linf instead: 0,0.1,8/255 or 0:0.5:0.1.")
SUITE = typer.Option(help="The attack suite: strong, paper-A2, paper-notebook, or a file.")
POINTS = typer.Option(min=4, max=shared.MOST, help="Images that --tsne and --umap show at each epsilon.")
OUT = output_path.option(
    "--out", help="The figure (.svg, .pdf or .png), or a folder for it. Several analyses add their names."
)


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """The options of `analyze`."""

    runs: shared.TargetNames = None
    pca: Annotated[bool, PCA] = False
    units: Annotated[bool, UNITS] = False
    sensitivity: Annotated[bool, SENSITIVITY] = False
    tsne: Annotated[bool, TSNE] = False
    umap: Annotated[bool, UMAP] = False
    hdh: Annotated[bool, HDH] = False
    norms: Annotated[bool, NORMS] = False
    masking: Annotated[bool, MASKING] = False
    stored: Annotated[bool, STORED] = False
    thresholds: Annotated[Path | None, THRESHOLDS] = None
    own: Annotated[list[str] | None, OWN] = None
    overrides: Annotated[list[str] | None, SETTINGS] = None
    attacks: Annotated[str | None, ATTACKS] = None
    epsilons: Annotated[str | None, EPSILONS] = None
    suite: Annotated[str, SUITE] = "paper-A2"
    limit: shared.Limit = None
    first: shared.First = None
    points: Annotated[int, POINTS] = 1000
    checkpoint: shared.Checkpoint = "best"
    seed: shared.Seed = 0
    batch_size: shared.BatchSize = None
    folder: shared.Runs = Path("runs")
    device: shared.Device = "auto"
    data_dir: shared.DataDir = None
    model: shared.Model = None
    weights: shared.Weights = None
    dataset: shared.Dataset = None
    mean: shared.Mean = None
    std: shared.Std = None
    image_size: shared.ImageSize = None
    out: Annotated[OutputPath | None, OUT] = None
    json: shared.Json = False

    @property
    def analyses(self) -> tuple[str, ...]:
        """The built-in analyses, in the order of their output."""
        named = [name for name in registry.ANALYSES if getattr(self, name, False) or name in (self.own or ())]
        return tuple(named) or (() if self.own else DEFAULT_ANALYSES)


@takes(AnalyzeOptions)
def analyze(options: AnalyzeOptions) -> None:
    """Analyse the features of runs on their test split, side by side; nothing is trained.

    Features are computed once and kept in the run. Without RUN: the newest one; without an analysis: --pca --units
    --sensitivity --norms.
    """
    # every mistake that can be found is reported before torch is imported, which takes seconds
    check_images(options.limit, options.first)
    attacks = split_names(options.attacks)
    if options.masking:
        diagnose_masking(options)
        return
    for name in ("stored", "thresholds", "model", "weights", "dataset", "mean", "std", "image_size"):
        if getattr(options, name):
            raise RecipeError(f"--{name.replace('_', '-')}: goes with --masking")
    if attacks and not options.hdh and not options.own:
        raise RecipeError("--attacks: are what --hdh compares; the other analyses use PGD-Linf")
    if options.umap and find_spec("umap") is None:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'")
    if options.out:
        check_out(options.out)
    runs = shared.distinct_runs(find_targets(run_names(options.runs or []), options.folder, options.data_dir))
    shared.check_names_differ(run.name for run in runs)
    shared.check_not_training(runs)
    # a suite is resolved once for each data set, so a mistake in it is reported once
    own = load_own_analyses(options)
    by_dataset = {dataset: load_attacks(options, dataset, attacks) for dataset in map(dataset_name, runs)}

    with exit_on_interrupt():
        from afdctl.cli.analyze_results import show_results
        from afdctl.cli.console import progress_reporter
        from afdctl.evaluation.plan import attack_warnings
        from afdctl.training.setup import choose_device

    device = choose_device(options.device)
    runners = [make_runner(options, run, device, by_dataset[dataset_name(run)], own) for run in runs]
    warnings = [f"{runner.target.name}: {warning}" for runner in runners for warning in runner.target.warnings]
    for runner in runners if compares(options, own) else []:
        warnings += attack_warnings(runner.request.attacks, runner.target.classes)
    print_warnings(warnings)
    with progress_reporter() as reporter:
        for runner in runners:
            run_analyses(runner, reporter)
    results = [(runner.target.run, rows_with_warnings(runner)) for runner in runners]
    show_results(results, as_json=options.json, out=options.out)


def diagnose_masking(options: AnalyzeOptions) -> None:
    """Diagnose masked gradients instead of analysing features."""
    from afdctl.suites.attack_config import parse_grid

    others = [name for name in registry.ANALYSES if getattr(options, name, False)]
    if others or options.own or options.out or options.attacks:
        raise RecipeError(
            "--masking: compares attacks, not features; run it without other analyses, --attacks and --out"
        )
    if options.suite != AnalyzeOptions.suite:
        raise RecipeError("--suite: goes with other analyses; --masking has attacks of its own")
    epsilon = None if options.epsilons is None else parse_grid(options.epsilons)[-1]
    names = (field.name for field in fields(EvaluateOptions))
    shared_values = {name: getattr(options, name) for name in names if hasattr(options, name)}
    masking.diagnose(
        EvaluateOptions(**shared_values), epsilon=epsilon, thresholds_file=options.thresholds, stored=options.stored
    )


def load_own_analyses(options: AnalyzeOptions) -> "dict[str, Analysis]":
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


def compares(options: AnalyzeOptions, own: "dict[str, Analysis]") -> bool:
    """Return whether an analysis compares attacks."""
    needs = [registry.ANALYSES[name].needs for name in options.analyses] + [one.needs for one in own.values()]
    return "attacks" in needs


def check_out(out: OutputPath) -> None:
    """Raise RecipeError for a figure that could not be written after all the work."""
    from afdctl.export.figures.page import format_of

    out.check()
    if not out.is_folder:
        format_of(out.path)


def load_attacks(options: AnalyzeOptions, dataset: str, attacks: list[str]) -> "AnalysisAttacks":
    """Load the attack whose strength varies, those that are compared, and what differs from the suite."""
    from afdctl.suites import load
    from afdctl.suites.attack_config import parse_grid

    epsilons = None if options.epsilons is None else parse_grid(options.epsilons)
    suite = load.load(
        options.suite, dataset, attacks=[GRID_ATTACK], epsilons=epsilons, options=("--suite", "--epsilons")
    )
    (grid_attack,) = suite.attacks
    # kept with the result: one with other settings does not replace that of the suite
    changed = (*suite.changes(grid_attack), *(["attacks"] if attacks else []))
    return grid_attack, load.load(options.suite, dataset, attacks=attacks).attacks, changed


def make_runner(
    options: AnalyzeOptions,
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
    used = [grid_attack, *(compared if compares(options, own) else [])]
    return AnalysisRunner(
        target,
        request,
        discriminator=load_discriminator(run, options.checkpoint, target),
        batch_size=options.batch_size or choose_batch_size(target, request.subset.n, used),
    )


def run_analyses(runner: "AnalysisRunner", reporter: "ProgressReporter") -> None:
    """Run the analyses of one run and report their progress."""
    from afdctl.cli.evaluation_progress import AnalysisProgress
    from afdctl.evaluation import time_estimate

    name, pending = runner.target.name, runner.pending_tasks()
    estimates = {}
    if pending:
        size = runner.cache.batch_size
        passes = time_estimate.pass_seconds(runner.target, size)
        estimates = {task.block_key: time_estimate.task_seconds(task, size, *passes) for task in pending}
        attacks = ", ".join(dict.fromkeys(task.spec.title for task in pending))
        seconds = format_estimate(sum(estimates.values()))
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
