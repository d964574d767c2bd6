"""From the wishes of the command line to figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl.cli.imports import leaving_at_once
from afdctl.cli.named import dataset_of, find, specs
from afdctl.cli.place import Place
from afdctl.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from afdctl.analyses.study import Study
    from afdctl.profile.grid import Grid
    from afdctl.profile.load import Profile
    from afdctl.profile.spec import Spec
    from afdctl.store.run import Run

Row = dict[str, Any]
GRID = "pgd_linf"
"""The attack whose strength the analyses vary (Figures 3a, A4, A6 to A8)."""


@dataclass(frozen=True)
class Wishes:
    """The command line's."""

    runs: list[str]
    analyses: Sequence[str]
    attacks: list[str]
    epsilons: "Grid | None"
    profile: str
    limit: int | None
    points: int
    checkpoint: str
    seed: int
    batch_size: int | None
    folder: Path
    device: str
    data_dir: Path | None
    out: Place | None
    json: bool


def analyse(wishes: Wishes) -> None:
    """Analyse each run, then print tables, plots and the pictures' paths, or JSON."""
    # whatever can be refused is refused before torch is imported, which takes seconds
    if wishes.attacks and "hdh" not in wishes.analyses:
        raise RecipeError("--attacks: are what --hdh compares; the other analyses take PGD-Linf")
    if "umap" in wishes.analyses and find_spec("umap") is None:
        raise RecipeError("--umap: needs umap-learn; pip install 'afdctl[umap]'")
    if wishes.out:
        check_out(wishes.out)
    runs = distinct([find(spec, wishes.folder) for spec in specs(wishes.runs)])
    chosen = {dataset: attacks_for(wishes, dataset) for dataset in map(dataset_of, runs)}

    with leaving_at_once():
        from afdctl.cli.analysing import results
        from afdctl.cli.analysing.told import telling
        from afdctl.train.start import choose_device

    device = choose_device(wishes.device)
    studies = [study_of(wishes, run, device, *chosen[dataset_of(run)]) for run in runs]
    warn(wishes, studies)
    with telling() as teller:
        for study in studies:
            teller.announce(study)
            study.run(teller.on_progress, teller.on_analysis)
            for row in study.not_shown():
                name = study.subject.name
                teller.say(f"{name}: results.h5, tables and pictures go on with {row['name']} of {row['n']:,} images")
    results.show([(study.subject.run, rows_of(study)) for study in studies], wishes.json, wishes.out)


def check_out(out: Place) -> None:
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


def attacks_for(wishes: Wishes, dataset: str) -> "tuple[Spec, Sequence[Spec], tuple[str, ...]]":
    """The attack whose strength is varied, those that are compared, and what of them is not the suite's own."""
    from afdctl.profile import load

    grid: Profile = load.load(
        wishes.profile, dataset, attacks=[GRID], epsilons=wishes.epsilons, options=("--profile", "--epsilons")
    )
    changed = (*grid.changes(grid.attacks[0]), *(["attacks"] if wishes.attacks else []))
    return grid.attacks[0], load.load(wishes.profile, dataset, attacks=wishes.attacks).attacks, changed


def study_of(
    wishes: Wishes,
    run: "Run",
    device: "torch.device",
    grid: "Spec",
    attacks: "Sequence[Spec]",
    changed: tuple[str, ...],
) -> "Study":
    """The run's network, and what is to be found out about it."""
    from afdctl.analyses.study import Study, Wanted
    from afdctl.analyses.trained import discriminator_of
    from afdctl.sweep import cost, plan, subject

    loaded = subject.of_run(run, wishes.checkpoint, device, wishes.data_dir)
    n = plan.count(loaded, wishes.limit)
    wanted = Wanted(wishes.analyses, grid, attacks, n, wishes.seed, wishes.points, changed)
    discriminator = discriminator_of(run, wishes.checkpoint, loaded)
    compared = attacks if "hdh" in wishes.analyses else []
    batch_size = wishes.batch_size or cost.batch_size_for(loaded, n, [grid, *compared])
    return Study(loaded, wanted, discriminator, batch_size)


def rows_of(study: "Study") -> dict[str, Row]:
    """The journal's row of each analysis, with what the network's check says against it."""
    warnings = {"warnings": study.subject.check.get("warnings", [])}
    return {name: row | warnings for name, row in study.rows().items()}


def warn(wishes: Wishes, studies: "Sequence[Study]") -> None:
    """Say what speaks against the figures, once."""
    from afdctl.sweep import warnings

    lines = [f"{study.subject.name}: {line}" for study in studies for line in study.subject.warnings]
    for study in studies:
        compared = study.wanted.attacks if "hdh" in wishes.analyses else []
        lines += warnings.of_attacks(compared, study.subject.classes)
    for line in dict.fromkeys(lines):
        typer.echo(f"warning: {line}", err=True)
