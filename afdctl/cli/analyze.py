"""`afdctl analyze`: what a training did to the features."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from afdctl import paths, registry
from afdctl.cli import masking, on_ray, output_path
from afdctl.cli import options as shared
from afdctl.cli.analysis_runners import (
    load_attacks,
    load_own_analyses,
    make_runner,
    needs_of,
    rows_with_warnings,
    run_all,
)
from afdctl.cli.evaluation import print_warnings
from afdctl.cli.options import dataset_name, split_names, takes
from afdctl.cli.output_path import OutputPath
from afdctl.cli.process import exit_on_interrupt
from afdctl.cli.targets import TargetOptions
from afdctl.errors import RecipeError
from afdctl.image_counts import check_images

DEFAULT_ANALYSES = ("pca", "units", "sensitivity", "norms")

PCA = typer.Option("--pca", help="Principal components that hold 99 % of the variance of z (Table A4).")
UNITS = typer.Option("--units", help="Features that are non-zero for some image (Table A4).")
SENSITIVITY = typer.Option("--sensitivity", help="How far PGD-Linf moves the features (Figure A4).")
TSNE = typer.Option("--tsne", help="Natural and adversarial features in two dimensions (Figures A6 to A8).")
UMAP = typer.Option("--umap", help="The same by UMAP (pip install 'afdctl[umap]').")
HDH = typer.Option("--hdh", help="Three estimates of d_HdH against the gap, and the bound of Eq. 5 (Figure 3).")
MASKING = typer.Option("--masking", help="Is it robust, or does it only look so? Ten indicators; runs what they lack.")
STORED = typer.Option("--stored", help="With --masking: judge stored results only; attack nothing.")
THRESHOLDS = typer.Option(
    metavar="FILE", parser=paths.path, help="With --masking: TOML with other thresholds; --set changes some."
)
NORMS = typer.Option("--norms", help="Feature norms, logit scales and margins.")
OWN = typer.Option("--analysis", metavar="FILE.py:NAME", help="An analysis of your own, or by name; repeatable.")
SETTINGS = typer.Option(
    "--set", metavar="KEY=VALUE", help="Change a setting of your own analyses, or a threshold of --masking; repeatable."
)
ATTACKS = typer.Option(metavar="NAME,...", help="The attacks that --hdh compares; default: all of the suite.")
EPSILONS = typer.Option(metavar="GRID", help="Use this grid of PGD-Linf instead: 0,0.1,8/255 or 0:0.5:0.1.")
SUITE = typer.Option(help="The attack suite: strong, paper-A2, paper-notebook, or a file.")
POINTS = typer.Option(min=4, max=shared.MOST, help="Images that --tsne and --umap show at each epsilon.")
OUT = output_path.option(
    "--out", help="The figure (.svg, .pdf or .png), or a folder for it. Several analyses add their names."
)


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(TargetOptions):
    """The options of `analyze`."""

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
    points: Annotated[int, POINTS] = 1000
    out: Annotated[OutputPath | None, OUT] = None
    ray: on_ray.Ray = None
    cpus_per_task: on_ray.Cpus = None
    gpus_per_task: on_ray.Gpus = None

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
    on_ray.check_ray(options)
    for name in ("stored", "thresholds", "model", "weights", "dataset", "mean", "std", "image_size"):
        if getattr(options, name):
            raise RecipeError(f"--{name.replace('_', '-')}: goes with --masking")
    if attacks and not options.hdh and not options.own:
        raise RecipeError("--attacks: are what --hdh compares; the other analyses use PGD-Linf")
    if options.umap and find_spec("umap") is None:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'")
    if options.out:
        check_out(options.out)
    runs = shared.distinct_runs(options.find())
    shared.check_names_differ(run.name for run in runs)
    shared.check_not_training(runs)
    # a suite is resolved once for each data set, so a mistake in it is reported once
    own = load_own_analyses(options)
    by_dataset = {dataset: load_attacks(options, dataset, attacks, own) for dataset in map(dataset_name, runs)}

    with exit_on_interrupt():
        from afdctl.cli.analyze_results import show_results
        from afdctl.evaluation.attack_checks import attack_warnings
        from afdctl.training.setup import choose_device

    device = choose_device(options.device)
    runners = [make_runner(options, run, device, by_dataset[dataset_name(run)], own) for run in runs]
    warnings = [f"{runner.target.name}: {warning}" for runner in runners for warning in runner.target.warnings]
    for runner in runners if "attacks" in needs_of(options, own) else []:
        warnings += attack_warnings(runner.request.attacks, runner.target.classes)
    print_warnings(warnings)
    run_all(options, runners, device)
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
    if options.ray:
        raise RecipeError("--ray: not with --masking; `afdctl sweep --ray` first, then --masking --stored judges it")
    on_ray.check_task_size(options)
    if options.suite != AnalyzeOptions.suite:
        raise RecipeError("--suite: goes with other analyses; --masking has attacks of its own")
    grid = () if options.epsilons is None else parse_grid(options.epsilons)
    # a grid begins with 0
    if len(grid) > 2:
        raise RecipeError(f"--epsilons {options.epsilons}: --masking judges at one epsilon; name it alone, such as 0.1")
    masking.diagnose(
        options,
        epsilon=grid[-1] if grid else None,
        thresholds_file=options.thresholds,
        overrides=options.overrides or [],
        stored=options.stored,
    )


def check_out(out: OutputPath) -> None:
    """Raise RecipeError for a figure that could not be written after all the work."""
    from afdctl.export.figures.page import format_of

    out.check()
    if not out.is_folder:
        format_of(out.path)
