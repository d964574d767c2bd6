"""The data set of a run, and what run.json records."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from afdctl import data, paths
from afdctl.data import Dataset
from afdctl.data.arrays import find_extra, load_extra
from afdctl.errors import CorruptError, option
from afdctl.name_families import TIMM
from afdctl.recipe import Recipe
from afdctl.recipe.data import Data
from afdctl.runs.provenance import environment
from afdctl.runs.run import Run


def load_dataset(table: Data, data_dir: Path | None, *, recorded: Path | None = None) -> Dataset:
    """Read the data set of a recipe's [data] table; `recorded` is the data folder in a run's provenance."""
    return data.load(
        table.dataset,
        data_dir,
        path=_recipe_path(table),
        image_size=table.image_size,
        channels=table.channels,
        recorded=recorded,
        **table.own_values(Data),
    )


def ensure_dataset(table: Data, data_dir: Path | None) -> None:
    """Download the data set of a recipe's [data] table if it is missing. Errors: those of `data.ensure`.

    DataMissingError also for a missing file of `data.extra`.
    """
    if table.extra is not None:
        find_extra(Path(table.extra))
    data.ensure(table.dataset, data_dir, path=_recipe_path(table))


def load_run_dataset(run: Run, table: Data, data_dir: Path | None) -> Dataset:
    """Read a run's data set from --data-dir or its original folder. Error: CorruptError for other images."""
    dataset = load_dataset(table, data_dir, recorded=Path(run.provenance["data_dir"]))
    # the same path may contain other images by now
    if dataset.digest != run.provenance["data_digest"]:
        raise CorruptError(
            f"{run.path}: not the images that this run used; name their folder with {option('data-dir')}"
        )
    return dataset


def with_extra(dataset: Dataset, table: Data) -> Dataset:
    """Return the data set with the images of `data.extra`, and the warnings of reading them."""
    if table.extra is None:
        return dataset
    extra, notes = load_extra(Path(table.extra), dataset)
    return replace(dataset, extra=extra, notes=(*dataset.notes, *notes))


def with_run_extra(dataset: Dataset, run: Run, table: Data) -> Dataset:
    """Add a run's `data.extra` for its resume. Error: CorruptError for other images."""
    if table.extra is None:
        return dataset
    # absolute, as a training may resume in another folder
    path = run.provenance["extra"]
    dataset = with_extra(dataset, table.model_copy(update={"extra": path}))
    if dataset.extra and dataset.extra.digest != run.provenance["extra_digest"]:
        raise CorruptError(f"{path}: not the images of data.extra that {run.path} used; put them back")
    return dataset


def data_folder(table: Data, data_dir: Path | None) -> str:
    """Return the first folder in which a [data] table's data set is searched, for a run's provenance."""
    return str(data.roots(table.dataset, data_dir, path=_recipe_path(table))[0].resolve())


def _recipe_path(table: Data) -> Path | None:
    return Path(table.path) if table.path else None


def provenance(
    chosen: Recipe, dataset: Dataset, device: torch.device, data_dir: Path | None, **more: Any
) -> dict[str, Any]:
    """Return the content of run.json for a run of the recipe."""
    if chosen.model.encoder.startswith(TIMM.prefix):
        more["timm"] = version("timm")
    extra = {}
    if chosen.data.extra and dataset.extra:
        extra = {"extra": str(paths.path(chosen.data.extra).resolve()), "extra_digest": dataset.extra.digest}
    return {
        "data_digest": dataset.digest,
        "data_dir": data_folder(chosen.data, data_dir),
        **extra,
        "seed": chosen.seed,
        **environment(device),
        **more,
    }
