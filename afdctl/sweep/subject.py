"""What is attacked: a run's network or a model of one's own, with the test images and the digests that key results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from afdctl import data, recipe, registry
from afdctl.data import Source
from afdctl.data.batches import Split, as_floats
from afdctl.errors import AfdctlError, CorruptError, RecipeError
from afdctl.models import external
from afdctl.models.feature_classifier import build
from afdctl.recipe.schema import Data
from afdctl.store import checkpoints
from afdctl.store.gaps import lost_tail
from afdctl.store.run import Run
from afdctl.sweep.checks import check
from afdctl.train.start import environment, source_of

CHECKED = 128
"""Test images that a model of one's own is checked with."""
IDENTITY = ("kind", "model_digest", "dataset", "data_digest")
"""What two external runs must share for the results of one to be those of the other."""


@dataclass(frozen=True)
class Subject:
    """A network on its device, frozen and in evaluation mode; `split` is the whole test split, there too.

    `digest` tells the network apart from every other (the checkpoint's, or `external.digest`), `data_digest` the
    images; `run` is where results go.
    """

    name: str
    network: nn.Module
    split: Split
    classes: int
    digest: str
    data_digest: str
    seed: int
    run: Run
    dataset: str
    warnings: list[str]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a user should know of how the images were read."""


def of_run(run: Run, which: str, device: torch.device, data_dir: Path | None) -> Subject:
    """The network of a run's checkpoint `best`, `last` or of a file name; for an external run its model once more.

    Errors: NotFoundError for a run without that checkpoint, CorruptError where files or images have changed.
    """
    if run.kind == "external":
        return _once_more(run, device, data_dir)
    chosen = recipe.loads(run.recipe_text)
    loaded = checkpoints.load(run, which)
    if not run.journal_path.exists():
        raise CorruptError(f"{run.journal_path}: missing; restore it from a copy")
    source = source_of(run, chosen.data, data_dir)
    network = build(chosen.model, **_sizes(source))
    with checkpoints.fitting(loaded):
        network.load_state_dict(loaded.network)
    warnings = [*loaded.warnings, *lost_tail(run)]
    return _subject(run, network, source, device, loaded.digest, chosen.seed, warnings)


def of_model(
    spec: str,
    weights: Path | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    dataset: str,
    runs: Path,
    device: torch.device,
    data_dir: Path | None,
    image_size: int | None = None,
) -> Subject:
    """The model of `models.external.load` on a data set, checked; its results go on in the run of the same of before.

    Errors: those of `external.load`, of `checks.check` and of `data.load`. No run is made where one is raised.
    """
    table = _data(dataset, image_size)
    network = external.load(spec, weights, mean, std)
    source = data.load(table, data_dir)
    warnings, digest = _check(network, source, device), external.digest(network)
    facts = {
        "kind": "external",
        "model": external.absolute(spec),
        "weights": None if weights is None else str(weights.resolve()),
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "model_digest": digest,
        "dataset": dataset,
        "image_size": image_size,
        "data_digest": source.digest,
        "data_dir": str(data.roots(table, data_dir)[0].resolve()),
        "seed": 0,
    }
    run = _earlier(runs, facts) or Run.create(runs, external.stem(spec), None, facts | environment(device))
    return _subject(run, network, source, device, digest, 0, warnings)


def _once_more(run: Run, device: torch.device, data_dir: Path | None) -> Subject:
    """The model of an external run; CorruptError where it is not the same any more."""
    facts = run.provenance
    weights = facts["weights"] and Path(facts["weights"])
    network = external.load(facts["model"], weights, facts["mean"], facts["std"])
    digest = external.digest(network)
    if digest != facts["model_digest"]:
        raise CorruptError(f"{run.path}: the model {facts['model']} has changed since; name it with --model instead")
    source = source_of(run, _data(facts["dataset"], facts["image_size"]), data_dir)
    return _subject(run, network, source, device, digest, facts["seed"], _check(network, source, device))


def _subject(
    run: Run, network: nn.Module, source: Source, device: torch.device, digest: str, seed: int, warnings: list[str]
) -> Subject:
    network = network.to(device).eval().requires_grad_(False)
    split = Split(source.test, device)
    return Subject(
        run.name, network, split, len(source.classes), digest, source.digest, seed, run, source.name, warnings,
        source.classes, source.notes,
    )  # fmt: skip


def _check(network: external.External, source: Source, device: torch.device) -> list[str]:
    """What speaks against figures of this model on these images; RecipeError where there can be none."""
    channels = source.test.x.shape[1]
    if network.mean is not None and network.mean.numel() != channels:
        given = network.mean.numel()
        raise RecipeError(f"--mean and --std have {given} values, images of {source.name} have {channels} channels")
    split = Split(source.test, "cpu").head(CHECKED).to(device)
    return network.warnings + check(network.to(device), as_floats(split.x), split.y, source.classes)


def _sizes(source: Source) -> dict[str, Any]:
    channels, image_size = source.test.x.shape[1:3]
    return {"channels": channels, "image_size": image_size, "classes": len(source.classes)}


def _data(dataset: str, image_size: int | None) -> Data:
    """The [data] table that the options stand for; RecipeError names the option that is wrong."""
    if dataset not in registry.DATASETS:
        near = registry.nearest(dataset, registry.DATASETS)
        hint = f"did you mean '{near}'?" if near else f"known: {', '.join(registry.DATASETS)}"
        raise RecipeError(f"--dataset '{dataset}': no such data set ({hint})")
    if dataset == "folder" and image_size is None:
        raise RecipeError("--dataset folder: needs --image-size, the side in pixels that its images are resized to")
    try:
        return Data(dataset=dataset, image_size=image_size)
    except ValidationError as error:
        raise RecipeError(
            f"--image-size {image_size}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from None


def _earlier(runs: Path, facts: dict[str, Any]) -> Run | None:
    """The newest run of the same model on the same images."""
    for run in reversed(Run.all(runs)):
        try:
            known = run.provenance
        except AfdctlError:
            continue  # somebody else's damaged file is no reason to stop here
        if all(known.get(key) == facts[key] for key in IDENTITY):
            return run
    return None
