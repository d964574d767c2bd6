"""Options and arguments that several commands share, and commands that take their options as one dataclass."""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from afdctl import paths
from afdctl.errors import NoResultsError, NotFoundError, RecipeError
from afdctl.formatting import shorten

if TYPE_CHECKING:
    from afdctl.runs.run import Run

Options = TypeVar("Options")
# the largest count that an option takes, as in a recipe
MOST = 10**9


def number(least: float, most: float) -> Callable[[str], float]:
    """Return the parser of an option's number from `least` to `most`."""

    def parse(text: str) -> float:
        with suppress(ValueError):
            # NaN is in no range, but typer's own check would say that it is too large
            if least <= (value := float(text)) <= most:
                return value
        raise typer.BadParameter(f"must be a number from {least:.10g} to {most:.10g}")

    return parse


RECIPE = typer.Argument(
    metavar="RECIPE",
    help="A recipe's file, or the name of a packaged one (see `afdctl recipes ls`).",
    show_default=False,
)
SET = typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as defense.lr_F=0.1; may be repeated.")

TargetNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Runs by path or name, `latest`, `model:NAME` (see `afdctl models ls`), or `-` for paths on stdin.",
    ),
]
NamedRuns = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Runs by path or name, `latest`, or `-` for paths on stdin."),
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Make the images on this run or `model:NAME` instead (transfer attack); repeatable.",
    ),
]
AttackSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of every attack, such as steps=100; repeatable."),
]
Runs = Annotated[Path, typer.Option("--runs", parser=paths.path, help="The folder that holds the runs.")]
Checkpoint = Annotated[str, typer.Option(help="`best`, `last`, or a file's name in checkpoints/.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, help="Evaluate only N test images, a fixed random sample.", show_default=False),
]
First = Annotated[
    int | None, typer.Option(min=1, max=MOST, help="Evaluate only the first N test images.", show_default=False)
]
# as in a recipe, whose integers have 64 bits
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The seed of every random draw.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST,
        help="Images per batch; default: 1024 on CUDA, 128 on the CPU or more where that is faster and exact.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Precision of the search: float32, bf16, or auto, the faster one here. Results are verified in float32."
    ),
]
Save = Annotated[bool, typer.Option("--save", help="Keep the adversarial images too.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=paths.path, help="The folder of the data sets; default: where the run found them.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:NAME", help="A custom model instead of a run; the file is executed."),
]
Weights = Annotated[
    Path | None,
    typer.Option(parser=paths.path, help="The custom model's weights: .pt, .pth or .safetensors.", show_default=False),
]
Dataset = Annotated[
    str | None, typer.Option(help="The data set whose test images the custom model classifies.", show_default=False)
]
Mean = Annotated[str | None, typer.Option(metavar="M,M,...", help="The custom model's input mean by channel.")]
Std = Annotated[
    str | None, typer.Option(metavar="S,S,...", help="The custom model's input standard deviation by channel.")
]
ImageSize = Annotated[
    int | None, typer.Option(help="The custom model's image size, for a data set of images of any size.")
]


def takes(options: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Make a function of one dataclass a command with an option for each of its fields.

    Fields are annotated as typer's parameters are. In the help, those that the dataclass declares itself follow the
    first field, which is the positional argument, and inherited ones come last.
    """

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            command(options(**values))

        hints = get_type_hints(options, include_extras=True)
        first, *others = fields(options)  # type: ignore[arg-type]
        own = options.__annotations__
        ordered = [first, *sorted(others, key=lambda field: field.name not in own)]
        parameters = [_parameter(field, hints[field.name]) for field in ordered]
        # typer reads the options from the signature and the annotations
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = hints
        return run

    return decorate


def _parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def run_names(names: Sequence[str]) -> list[str]:
    """Expand `-` to the lines of stdin, and no name to the newest run."""
    expanded: list[str] = []
    for name in names or ["latest"]:
        expanded += read_stdin_lines() if name == "-" else [name]
    return expanded


def read_stdin_lines() -> list[str]:
    # otherwise the command would wait for input without a word
    if sys.stdin.isatty():
        raise RecipeError("-: reads the runs' paths from stdin, and stdin is a terminal; pipe them in")
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise NotFoundError("-: stdin has no run's path")
    return lines


def find_run(name: str, folder: Path) -> "Run":
    """Find a run by path or name, the newest one (`latest`) of a folder, or the run with a `model:NAME`'s results.

    Errors: those of `Run.find`; NoResultsError for a model without a run.
    """
    from afdctl.runs.model_card import PREFIX, load
    from afdctl.runs.run import Run

    if not name.startswith(PREFIX):
        return Run.find(name, folder)
    run = load(name).find_run(folder)
    if run is None:
        from afdctl.runs.folders import runs_option

        command = f"afdctl sweep {name}{runs_option(folder)}"
        raise NoResultsError(f"{name}: nothing is measured under {folder}; run `{command}` first")
    return run


def check_not_training(runs: "Iterable[Run]") -> None:
    """Raise BusyError for a run that is still being trained."""
    from afdctl.journal import check_not_busy

    for run in runs:
        # a finished run may be busy with a sweep, and what is already measured can be shown meanwhile
        if not run.finished:
            check_not_busy(run.journal_path)


def find_runs(names: list[str], folder: Path) -> "list[Run]":
    """Return the named runs, each once, in any condition."""
    from afdctl.runs.run import Run

    # unlike Run.find, Run.at takes damaged runs, which can still be listed and removed
    runs = [Run.at(name, folder) for name in run_names(names)]
    return list({run.path.absolute(): run for run in runs}.values())


def distinct_runs(runs: "Iterable[Run]") -> "list[Run]":
    """Keep each run once: named twice, it would count as two."""
    return list({run.path.resolve(): run for run in runs}.values())


def check_names_differ(names: Iterable[str]) -> None:
    """Raise RecipeError for two runs of one name, such as `a/x` and `b/x`."""
    names = list(names)
    if len(set(names)) < len(names):
        raise RecipeError("two of the runs have the same name, which tables could not tell apart; rename a folder")


def dataset_name(run: "Run") -> str:
    """Return the data set of a trained run or of a custom model."""
    from afdctl import recipe

    # a custom model has no recipe
    if run.kind == "external":
        return str(run.provenance["dataset"])
    return recipe.loads(run.recipe_text, run.path).dataset


def split_names(text: str | None) -> list[str]:
    """Split `pgd_linf,aa` into names."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise RecipeError(f"--attacks '{shorten(text)}': must be names with commas between, such as pgd_linf,aa")
    return names


def parse_numbers(text: str | None, option: str) -> list[float] | None:
    """Parse `0.49,0.48,0.45`."""
    if text is None:
        return None

    from afdctl.recipe.fields import parse_decimal

    try:
        return [parse_decimal(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(
            f"{option} '{shorten(text)}': must be numbers with commas between, such as 0.49,0.48,0.45"
        ) from None
