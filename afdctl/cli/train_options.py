"""The options of `afdctl train`, checked as far as that needs neither the recipe nor a run."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import typer

from afdctl import paths
from afdctl.cli import launch, on_ray
from afdctl.cli.options import MOST, RECIPE, SET
from afdctl.errors import RecipeError
from afdctl.formatting import shorten

SEEDS = typer.Option(
    metavar="N,N,...", help="Train once with each of these seeds; without --grid, in new, numbered runs."
)
RESUME = typer.Option(metavar="RUN", help="Resume a stopped run: its path, its name, or `latest`.")
NAME = typer.Option(help="The run's name; by default the recipe's, with a number.")
RUNS = typer.Option(parser=paths.path, help="The folder of the runs.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps; auto by default.", show_default=False)
DATA_DIR = typer.Option(
    parser=paths.path,
    help="The folder of the data sets; by default AFDCTL_DATA, or a cache folder.",
    show_default=False,
)
JSON = typer.Option("--json", help="Stream the journal to stdout, one JSON object per line; of --grid one object.")
TUI = typer.Option("--tui/--no-tui", help="Dashboard or progress bar; by default the dashboard on a terminal.")
NPROC = typer.Option(min=1, help="Train on this many processes of this machine, with a GPU each.", show_default=False)
DETACH = typer.Option("--detach", help="Print the run's path once the training runs, and leave it in the background.")
GRID = typer.Option(
    metavar="KEY=V,V,...", help="Train once with each value; with several --grid, with each combination."
)
DRY_RUN = typer.Option("--dry-run", help="List the trainings of --grid and their states, and train nothing.")
SEARCH = typer.Option(
    metavar="optuna", help="Propose combinations of --grid by hold-out accuracy; LOW..HIGH is a range."
)
TRIALS = typer.Option(min=1, max=MOST, help="How many combinations --search tries.", show_default=False)
# what chooses or runs the trainings of a grid
GRID_ONLY: Final = ("dry_run", "search", "ray")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the command line says; `--grid` and `--seeds` are parsed by `axes` and `seed_numbers`."""

    recipe: Annotated[str | None, RECIPE] = None
    overrides: Annotated[list[str] | None, SET] = None
    seeds: Annotated[str | None, SEEDS] = None
    grid: Annotated[list[str] | None, GRID] = None
    search: Annotated[str | None, SEARCH] = None
    trials: Annotated[int | None, TRIALS] = None
    ray: on_ray.Ray = None
    cpus_per_task: on_ray.Cpus = None
    gpus_per_task: on_ray.Gpus = None
    dry_run: Annotated[bool, DRY_RUN] = False
    resume: Annotated[str | None, RESUME] = None
    name: Annotated[str | None, NAME] = None
    runs: Annotated[Path, RUNS] = Path("runs")
    device: Annotated[str | None, DEVICE] = None
    data_dir: Annotated[Path | None, DATA_DIR] = None
    json: Annotated[bool, JSON] = False
    nproc: Annotated[int, NPROC] = 1
    tui: Annotated[bool | None, TUI] = None
    detach: Annotated[bool, DETACH] = False

    def check(self) -> None:
        """Raise RecipeError for values of a wrong form, and for options that contradict each other."""
        # only its form: which devices exist is known once torch is imported
        if self.device is not None and not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise RecipeError(f"--device '{self.device}': must be auto, cpu, cuda, cuda:N or mps")
        _ = self.seed_numbers
        on_ray.check_task_size(self)
        if self.trials and not self.search:
            raise RecipeError("--trials: needs --search optuna")
        if self.grid:
            self._check_grid()
        elif given := [name for name in GRID_ONLY if getattr(self, name) not in (None, False)]:
            seeds = "" if self.search else ",".join(map(str, self.seed_numbers))
            needed = f"--grid seed={seeds} instead of --seeds" if seeds else "--grid KEY=VALUE,VALUE"
            raise RecipeError(f"--{given[0].replace('_', '-')}: needs {needed}")
        else:
            launch.check_options(self)

    def _check_grid(self) -> None:
        if self.search not in (None, "optuna"):
            raise RecipeError(f"--search '{shorten(self.search)}': must be optuna")
        if self.search and not self.trials:
            raise RecipeError("--search: needs --trials N")
        if self.search and self.dry_run:
            raise RecipeError("--dry-run: not with --search, which chooses each training by those before it")
        on_ray.check_ray(self)
        if self.resume:
            raise RecipeError("--resume: not with --grid; the same --grid again resumes what crashed or was stopped")
        if self.name:
            raise RecipeError("--name: not with --grid, which names each run by its values; leave it out")
        if self.tui or self.detach:
            option = "--tui" if self.tui else "--detach"
            raise RecipeError(f"{option}: not with --grid; leave it out, and `afdctl watch {self.runs}` shows the runs")
        if self.nproc > 1 or launch.inside_torchrun():
            command = "--nproc" if self.nproc > 1 else "torchrun"
            raise RecipeError(f"--grid: not with {command}; the same --grid, started several times, divides its runs")

    @cached_property
    def seed_numbers(self) -> list[int]:
        """The numbers of `--seeds`."""
        if self.seeds is None:
            return []
        # 19 digits, as the largest 64-bit integer
        if not re.fullmatch(r"\s*[0-9]{1,19}\s*(,\s*[0-9]{1,19}\s*)*", self.seeds):
            raise RecipeError(
                f"--seeds '{shorten(self.seeds)}': must be whole numbers with commas between, such as 0,1,2"
            )
        numbers = [int(number) for number in self.seeds.split(",")]
        if len(set(numbers)) < len(numbers):
            raise RecipeError(
                f"--seeds '{shorten(self.seeds)}': names a seed twice, which would train the same run twice"
            )
        return numbers
