"""What commands that evaluate networks are run on: the options that name it, and how it is found and loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl import registry
from afdctl.cli import options as shared
from afdctl.cli.options import check_names_differ, find_run
from afdctl.cli.process import exit_on_interrupt
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean
from afdctl.image_counts import check_images

if TYPE_CHECKING:
    import torch

    from afdctl.evaluation.target import EvaluationTarget
    from afdctl.runs.model_card import StoredModel
    from afdctl.runs.run import Run

    Targets = Sequence[EvaluationTarget]


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """The options of `attack`, `sweep` and `analyze` that say which networks on which images, and where."""

    runs: shared.TargetNames = None
    limit: shared.Limit = None
    first: shared.First = None
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
    json: shared.Json = False

    def check(self) -> None:
        """Raise RecipeError for options that contradict each other."""
        check_images(self.limit, self.first)
        if self.model is None:
            for name in ("weights", "dataset", "mean", "std", "image_size"):
                if getattr(self, name) is not None:
                    raise RecipeError(f"--{name.replace('_', '-')}: goes with --model; a run brings its own")
            return
        if self.runs:
            raise RecipeError("--model: names a custom model; leave RUN out")
        if self.dataset is None:
            raise RecipeError("--model: needs --dataset, whose test images it classifies (see `afdctl data ls`)")
        if self.dataset not in registry.DATASETS:
            hint = did_you_mean(self.dataset, registry.DATASETS)
            raise RecipeError(f"--dataset '{self.dataset}': no such data set ({hint})")

    def find(self, *, make: bool = True) -> "list[Run]":
        """Find the named runs (`find_targets`), which --model leaves out."""
        if self.model is not None:
            return []
        return find_targets(shared.run_names(self.runs or []), self.folder, self.data_dir, make=make)


def find_targets(names: Sequence[str], folder: Path, data_dir: Path | None = None, *, make: bool = True) -> "list[Run]":
    """Find what is evaluated: runs as `find_run` does, and the run of each `model:NAME`, which is made the first time.

    `data_dir` is where a new run searches the model's data set. Without `make`, a model has to have a run
    (NoResultsError).
    """
    from afdctl.runs.model_card import PREFIX, load

    # every name is checked before a run is made
    models = {name: load(name) for name in names if make and name.startswith(PREFIX)}
    runs = {name: find_run(name, folder) for name in names if name not in models}
    for name, model in models.items():
        runs[name] = model.find_run(folder) or _import_model(name, model, folder, data_dir)
    return [runs[name] for name in names]


def _import_model(name: str, model: "StoredModel", folder: Path, data_dir: Path | None) -> "Run":
    with exit_on_interrupt():
        from afdctl.training.import_checkpoint import import_model

    run = import_model(model, runs=folder, data_dir=data_dir)
    typer.echo(f"{name}: results go to {run.path}", err=True)
    return run


def load_targets(
    options: TargetOptions,
    target_runs: "Sequence[Run]",
    source_runs: "Sequence[Run]",
    device: "torch.device",
    *,
    make: bool = True,
) -> "tuple[Targets, Targets]":
    """Load the networks that are attacked, and those that the images are made on.

    Without `make`, a custom model has to have a run (NoResultsError).
    """
    from afdctl.evaluation.target import load_run_target

    # a run may be target and source, or be named twice: it is loaded once
    loaded = {
        run.path.resolve(): load_run_target(run, options.checkpoint, device, options.data_dir)
        for run in [*target_runs, *source_runs]
    }
    check_names_differ(target.name for target in loaded.values())
    sources = [loaded[run.path.resolve()] for run in source_runs]
    if options.model is not None:
        return [load_custom_model(options, device, make=make)], sources
    return [loaded[path] for path in dict.fromkeys(run.path.resolve() for run in target_runs)], sources


def load_custom_model(options: TargetOptions, device: "torch.device", *, make: bool) -> "EvaluationTarget":
    """Load the model that --model names; `make` is that of `load_targets`."""
    from afdctl.evaluation.target import load_user_target
    from afdctl.models import user_model

    assert options.model is not None
    assert options.dataset is not None
    mean, std = shared.parse_numbers(options.mean, "--mean"), shared.parse_numbers(options.std, "--std")
    user_model.check_spec(options.model)
    # the file runs with the user's rights, so it is named before it does
    typer.echo(f"executing {options.model.rpartition(':')[0] or options.model} to build the model", err=True)
    return load_user_target(
        options.model,
        dataset=options.dataset,
        runs=options.folder,
        device=device,
        data_dir=options.data_dir,
        weights=options.weights,
        mean=mean,
        std=std,
        image_size=options.image_size,
        make=make,
    )
