"""`afdctl export`: what runs hold, as files for other programs and for people."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from afdctl.cli import attack_options as options
from afdctl.cli.exporting import report as report_mode
from afdctl.cli.exporting import weights as weights_mode
from afdctl.cli.exporting.wanted import Wanted
from afdctl.cli.named import find, specs
from afdctl.errors import RecipeError

WEIGHTS = typer.Option(
    metavar="FORMAT",
    help="The network itself: safetensors, onnx, pt2, torch or robustbench; checked against the run's.",
    show_default=False,
)
REPORT = typer.Option(
    metavar="FILE.html", help="A page about the runs, side by side: needs no network.", show_default=False
)
OUT = typer.Option(metavar="PATH", help="The file to write, or the folder for it.", show_default=False)

Mode = Callable[[Wanted, str], None]
"""Does the work of one mode with the value of its option."""


def export(
    names: options.RunNames = None,
    weights: Annotated[str | None, WEIGHTS] = None,
    report: Annotated[str | None, REPORT] = None,
    out: Annotated[Path | None, OUT] = None,
    checkpoint: options.Checkpoint = "best",
    folder: options.Runs = Path("runs"),
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Export what runs hold; exactly one mode says what. Without RUN: the newest one."""
    mode, choice = only({"--weights": (weights, weights_mode.export), "--report": (report, report_mode.export)})
    runs = [find(spec, folder) for spec in specs(names or [])]
    mode(Wanted(runs, checkpoint, out, data_dir, device, json), choice)


def only(modes: Mapping[str, tuple[str | None, Mode]]) -> tuple[Mode, str]:
    """The one mode that has a choice, and the choice; RecipeError unless it is exactly one."""
    given = {option: (mode, choice) for option, (choice, mode) in modes.items() if choice is not None}
    if len(given) == 1:
        return next(iter(given.values()))
    if given:
        raise RecipeError(f"{' and '.join(given)}: one mode at a time; run the command once for each")
    raise RecipeError(f"export what? give one of {', '.join(modes)}")
