"""From the wishes of the command line to figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.arguments import dataset_of, find_runs, run_names
from afdctl.cli.imports import leaving_at_once
from afdctl.cli.output_path import OutputPath
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from afdctl.analysis.runner import AnalysisRunner
    from afdctl.runs.run import Run
    from afdctl.suites.attack_config import AttackConfig
    from afdctl.suites.epsilon_grid import Grid
    from afdctl.suites.load import Suite

Row = dict[str, Any]
GRID = "pgd_linf"
"""The attack whose strength the analyses vary (Figures 3a, A4, A6 to A8)."""


@dataclass(frozen=True)
class AnalyzeOptions:
    """The command line's."""

    runs: list[str]
    analyses: Sequence[str]
    attacks: list[str]
    epsilons: "Grid | None"
    suite: str
    limit: int | None
    points: int
    checkpoint: str
    seed: int
    batch_size: int | None
    folder: Path
    device: str
    data_dir: Path | None
    out: OutputPath | None
    json: bool


def analyse(wishes: AnalyzeOptions) -> None:
    """Analyse each run, then print tables, plots and the pictures' paths, or JSON."""
    # whatever can be refused is refused before torch is imported, which takes seconds
    if wishes.attacks and "hdh" not in wishes.analyses:
        raise RecipeError("--attacks: are what --hdh compares; the other analyses take PGD-Linf")
    if "umap" in wishes.analyses and find_spec("umap") is None:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'")
    if wishes.out:
        check_out(wishes.out)
    runs = distinct([find_runs(spec, wishes.folder) for spec in run_names(wishes.runs)])
    chosen = {dataset: attacks_for(wishes, dataset) for dataset in map(dataset_of, runs)}

    with leaving_at_once():
        from afdctl.cli import analyze_tables
        from afdctl.cli.analyze_progress import analysis_progress
        from afdctl.training.setup import choose_device

    device = choose_device(wishes.device)
    studies = [study_of(wishes, run, device, *chosen[dataset_of(run)]) for run in runs]
    warn(wishes, studies)
    with analysis_progress() as teller:
        for study in studies:
            teller.announce(study)
            study.run(teller.on_progress, teller.on_analysis)
            for row in study.not_shown():
                name = study.subject.name
                teller.say(f"{name}: results.h5, tables and pictures go on with {row['name']} of {row['n']:,} images")
    analyze_tables.show([(study.subject.run, rows_of(study)) for study in studies], wishes.json, wishes.out)


def check_out(out: OutputPath) -> None:
    """RecipeError for a picture that could not be written after all the work."""
    from afdctl.export.figures.page import format_of

    out.check()
    if not out.is_folder:
        format_of(out.path)


def distinct(runs: "list[Run]") -> "list[Run]":
    """Each run once; RecipeError for two of one name, which tables could not tell apart."""
    by_path = {run.path.resolve(): run for run in runs}
    if len({run.name for run in by_path.values()}) < len(by_path):
        raise RecipeError("two of the runs have the same name, which tables could not tell apart; rename a folder")
    return list(by_path.values())


def attacks_for(wishes: AnalyzeOptions, dataset: str) -> "tuple[AttackConfig, Sequence[AttackConfig], tuple[str, ...]]":
    """The attack whose strength is varied, those that are compared, and what of them is not the suite's own."""
    from afdctl.suites import load

    grid: Suite = load.load(
        wishes.suite, dataset, attacks=[GRID], epsilons=wishes.epsilons, options=("--suite", "--epsilons")
    )
    changed = (*grid.changes(grid.attacks[0]), *(["attacks"] if wishes.attacks else []))
    return grid.attacks[0], load.load(wishes.suite, dataset, attacks=wishes.attacks).attacks, changed


def study_of(
    wishes: AnalyzeOptions,
    run: "Run",
    device: "torch.device",
    grid: "AttackConfig",
    attacks: "Sequence[AttackConfig]",
    changed: tuple[str, ...],
) -> "AnalysisRunner":
    """The run's network, and what is to be found out about it."""
    from afdctl.analysis.runner import AnalysisRequest, AnalysisRunner, discriminator_of
    from afdctl.evaluation import plan, target, time_estimate

    loaded = target.load_run_target(run, wishes.checkpoint, device, wishes.data_dir)
    n = plan.count(loaded, wishes.limit)
    wanted = AnalysisRequest(wishes.analyses, grid, attacks, n, wishes.seed, wishes.points, changed)
    discriminator = discriminator_of(run, wishes.checkpoint, loaded)
    compared = attacks if "hdh" in wishes.analyses else []
    batch_size = wishes.batch_size or time_estimate.batch_size_for(loaded, n, [grid, *compared])
    return AnalysisRunner(loaded, wanted, discriminator, batch_size)


def rows_of(study: "AnalysisRunner") -> dict[str, Row]:
    """The journal's row of each analysis, with what the network's check says against it."""
    warnings = {"warnings": study.subject.check.get("warnings", [])}
    return {name: row | warnings for name, row in study.rows().items()}


def warn(wishes: AnalyzeOptions, studies: "Sequence[AnalysisRunner]") -> None:
    """Say what speaks against the figures, once."""
    from afdctl.evaluation import warnings

    lines = [f"{study.subject.name}: {line}" for study in studies for line in study.subject.warnings]
    for study in studies:
        compared = study.wanted.attacks if "hdh" in wishes.analyses else []
        lines += warnings.of_attacks(compared, study.subject.classes)
    for line in dict.fromkeys(lines):
        typer.echo(f"warning: {line}", err=True)
