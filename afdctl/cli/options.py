"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from afdctl import paths

RECIPE = typer.Argument(
    metavar="RECIPE",
    help="A recipe's file, or the name of a packaged one (see `afdctl recipes ls`).",
    show_default=False,
)
SET = typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as defense.lr_F=0.1; may be repeated.")


MOST = 10**9
"""The largest count that an option takes, as in a recipe."""

RunNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Runs by path or name, `latest`, or `-` for paths on stdin."),
]
From = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="RUN", help="Make the images against this run instead (black box); repeatable."),
]
Runs = Annotated[Path, typer.Option("--runs", parser=paths.path, help="The folder that holds the runs.")]
Checkpoint = Annotated[str, typer.Option(help="`best`, `last`, or a file's name in checkpoints/.")]
Limit = Annotated[
    int | None, typer.Option(min=1, max=MOST, help="Only the first so many test images.", show_default=False)
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of every random draw.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST,
        help="By default 1024 on CUDA; 128 on the CPU, or more where that is faster and changes no result.",
    ),
]
Precision = Annotated[
    str, typer.Option(help="Of the search: float32, or bf16, which a GPU is faster in; verdicts are taken in float32.")
]
Save = Annotated[bool, typer.Option("--save", help="Keep the adversarial images too.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=paths.path, help="Where the data sets lie; by default where the run found them.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:NAME", help="A model of your own instead of a run; the file is executed."),
]
Weights = Annotated[
    Path | None, typer.Option(parser=paths.path, help="Its weights: .pt, .pth or .safetensors.", show_default=False)
]
Dataset = Annotated[str | None, typer.Option(help="The data set whose test images it classifies.", show_default=False)]
Mean = Annotated[str | None, typer.Option(metavar="M,M,...", help="Its normalisation, by channel.")]
Std = Annotated[str | None, typer.Option(metavar="S,S,...", help="Its normalisation, by channel.")]
ImageSize = Annotated[int | None, typer.Option(help="The side of its images, where the data set has any size.")]
