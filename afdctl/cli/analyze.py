"""`afdctl analyze`: what a training did to the features."""

from pathlib import Path
from typing import Annotated

import typer

from afdctl.cli import options, output_path
from afdctl.cli.arguments import names_of

PCA = typer.Option("--pca", help="Principal components that hold 99 % of the variance of z (Table A4).")
UNITS = typer.Option("--units", help="Features that are not zero for some image (Table A4).")
SENSITIVITY = typer.Option("--sensitivity", help="How far PGD-Linf moves the features (Figure A4).")
TSNE = typer.Option("--tsne", help="Natural and adversarial features in two dimensions (Figures A6 to A8).")
UMAP = typer.Option("--umap", help="The same by UMAP (pip install 'afdctl[umap]').")
HDH = typer.Option("--hdh", help="Three estimates of d_HdH against the gap, and the bound of Eq. 5 (Figure 3).")
NORMS = typer.Option("--norms", help="Feature norms, logit scales and margins.")
ATTACKS = typer.Option(metavar="NAME,...", help="The attacks that --hdh compares; by default all of the suite.")
EPSILONS = typer.Option(metavar="GRID", help="The grid of PGD-Linf instead: 0,0.1,8/255 or 0:0.5:0.1.")
SUITE = typer.Option(help="The attack suite: strong, paper-A2, paper-notebook, or a file.")
POINTS = typer.Option(min=4, max=options.MOST, help="Images that --tsne and --umap show at each strength.")
OUT = output_path.option(
    "--out", help="The picture: .svg, .pdf or .png, or a folder for it; several analyses: with their names in."
)
USUAL = ("pca", "units", "sensitivity", "norms")


def analyze(
    runs: options.RunNames = None,
    pca: Annotated[bool, PCA] = False,
    units: Annotated[bool, UNITS] = False,
    sensitivity: Annotated[bool, SENSITIVITY] = False,
    tsne: Annotated[bool, TSNE] = False,
    umap: Annotated[bool, UMAP] = False,
    hdh: Annotated[bool, HDH] = False,
    norms: Annotated[bool, NORMS] = False,
    attacks: Annotated[str | None, ATTACKS] = None,
    epsilons: Annotated[str | None, EPSILONS] = None,
    suite: Annotated[str, SUITE] = "paper-A2",
    limit: options.Limit = None,
    points: Annotated[int, POINTS] = 1000,
    checkpoint: options.Checkpoint = "best",
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    folder: options.Runs = Path("runs"),
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    out: Annotated[output_path.OutputPath | None, OUT] = None,
    json: options.Json = False,
) -> None:
    """Analyse the features of runs on their test split, side by side; nothing is trained.

    Features are computed once and kept in the run. Without RUN: the newest one; without an analysis: --pca --units
    --sensitivity --norms.
    """
    from afdctl.cli.analyze_run import AnalyzeOptions, analyse
    from afdctl.suites import epsilon_grid

    flags = {
        "pca": pca,
        "units": units,
        "sensitivity": sensitivity,
        "norms": norms,
        "hdh": hdh,
        "tsne": tsne,
        "umap": umap,
    }
    analyse(
        AnalyzeOptions(
            runs=runs or [],
            analyses=tuple(name for name, flag in flags.items() if flag) or USUAL,
            attacks=names_of(attacks),
            epsilons=None if epsilons is None else epsilon_grid.parse(epsilons),
            suite=suite,
            limit=limit,
            points=points,
            checkpoint=checkpoint,
            seed=seed,
            batch_size=batch_size,
            folder=folder,
            device=device,
            data_dir=data_dir,
            out=out,
            json=json,
        )
    )
