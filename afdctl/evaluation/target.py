"""What is attacked: a run's network or a model of one's own, with the test images and the digests that key results."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from afdctl import recipe, registry
from afdctl.data import Dataset
from afdctl.data.loader import Split, as_floats
from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.evaluation import sanity_checks
from afdctl.formatting import did_you_mean
from afdctl.journal import JournalCache, JournalOutline, Row, drop_superseded
from afdctl.models import user_model
from afdctl.models.feature_classifier import build
from afdctl.recipe.schema import Data
from afdctl.runs import checkpoints
from afdctl.runs.lost_rows import lost_rows
from afdctl.runs.provenance import environment
from afdctl.runs.run import Run
from afdctl.training.setup import data_folder, load_dataset, load_run_dataset

IDENTITY = ("kind", "code_digest", "dataset", "data_digest")
"""What two external runs must share, besides the fingerprint, for the results of one to be those of the other."""


@dataclass(frozen=True)
class EvaluationTarget:
    """A network on its device, frozen and in evaluation mode; `split` is the whole test split, there too.

    `digest` tells the network apart from every other (the checkpoint's, or a custom model's `model_digest`),
    `data_digest` the images; `run` is where results go. `check` is the journal's row of the network's checks on these
    images; `warnings` are those of the check, and of loading.
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
    check: Row = field(default_factory=dict)


def load_run_target(run: Run, which: str, device: torch.device, data_dir: Path | None) -> EvaluationTarget:
    """The network of a run's checkpoint `best`, `last` or of a file name; for an external run its model once more.

    Errors: NotFoundError for a run without that checkpoint, CorruptError where files or images have changed.
    """
    if run.kind == "external":
        return _reload_user_target(run, device, data_dir)
    chosen = recipe.loads(run.recipe_text)
    loaded = checkpoints.load(run, which)
    if not run.journal_path.exists():
        raise CorruptError(f"{run.journal_path}: missing; restore it from a copy")
    source = load_run_dataset(run, chosen.data, data_dir)
    network = build(**chosen.model.model_dump(), **_sizes(source))
    with checkpoints.fitting(loaded):
        network.load_state_dict(loaded.network)
    return _subject(run, network, source, device, loaded.digest, chosen.seed, loaded.warnings)


def load_user_target(
    spec: str,
    weights: Path | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    dataset: str,
    runs: Path,
    device: torch.device,
    data_dir: Path | None,
    image_size: int | None = None,
) -> EvaluationTarget:
    """The model of `models.external.load` on a data set; its results are added to the run of the same model, if any.

    Errors: those of `external.load`, of `checks.check` and of `load_dataset`. No run is made where one is raised.
    """
    table = _data(dataset, image_size)
    source = load_dataset(table, data_dir)
    network = _custom(spec, weights, mean, std, source, device)
    x, classes = _images(source, device), len(source.classes)
    code, fingerprint = user_model.digest(network), sanity_checks.fingerprint(network, x, classes)
    digest = sha256(f"{code} {fingerprint}".encode()).hexdigest()
    facts = {
        "kind": "external",
        "model": user_model.absolute(spec),
        "weights": None if weights is None else str(weights.resolve()),
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "code_digest": code,
        "fingerprint": fingerprint,
        "model_digest": digest,
        "dataset": dataset,
        "image_size": image_size,
        "data_digest": source.digest,
        "data_dir": data_folder(table, data_dir),
        "seed": 0,
    }
    run = _earlier(runs, facts, lambda known: sanity_checks.agrees(network, x, classes, known))
    check = None if run else _check(network, source, device, digest)
    run = run or Run.create(runs, user_model.stem(spec), None, facts | environment(device))
    return _subject(run, network, source, device, run.provenance["model_digest"], 0, [], check)


def _reload_user_target(run: Run, device: torch.device, data_dir: Path | None) -> EvaluationTarget:
    """The model of an external run; CorruptError where it is not the same any more."""
    facts = run.provenance
    source = load_run_dataset(run, _data(facts["dataset"], facts["image_size"]), data_dir)
    weights = facts["weights"] and Path(facts["weights"])
    network = _custom(facts["model"], weights, facts["mean"], facts["std"], source, device)
    same = user_model.digest(network) == facts.get("code_digest")
    if not same or not sanity_checks.agrees(
        network, _images(source, device), len(source.classes), facts["fingerprint"]
    ):
        raise CorruptError(f"{run.path}: the model {facts['model']} has changed since; name it with --model instead")
    return _subject(run, network, source, device, facts["model_digest"], facts["seed"], [])


def _custom(
    spec: str,
    weights: Path | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    source: Dataset,
    device: torch.device,
) -> user_model.UserModel:
    """A custom model for images of a data set, on the device."""
    channels, *_ = shape = _shape(source)
    if mean is not None and len(mean) != channels:
        raise RecipeError(f"--mean and --std have {len(mean)} values, images of {source.name} have {channels} channels")
    return user_model.load(spec, weights, mean, std, shape=shape).to(device)


def _subject(
    run: Run,
    network: nn.Module,
    source: Dataset,
    device: torch.device,
    digest: str,
    seed: int,
    warnings: list[str],
    check: Row | None = None,
) -> EvaluationTarget:
    """`check` is taken from the journal where it is None, or made where the journal has none."""
    network = network.to(device).eval().requires_grad_(False)
    try:
        check = check or _known_check(run, digest, source.digest) or _check(network, source, device, digest)
    except RecipeError as error:
        raise RecipeError(f"{run.name}: {error}") from error
    warnings = [*warnings, *lost_rows(run)]
    split = Split(source.test, device)
    return EvaluationTarget(
        run.name,
        network,
        split,
        len(source.classes),
        digest,
        source.digest,
        seed,
        run,
        source.name,
        [*warnings, *check["warnings"]],
        source.classes,
        source.notes,
        check,
    )


def missing_checks(subjects: Iterable[EvaluationTarget], reader: JournalCache) -> list[Row]:
    """The checks of networks that the journal of a run lacks which has numbers of them."""
    known = [_of_check(row) for row in drop_superseded(reader.of_event("sanity_check"))]
    checked = {_of_check(subject.check): subject.check for subject in subjects if subject.check}
    rows = [row for of, row in checked.items() if of not in known]
    return [{key: value for key, value in row.items() if key != "t"} for row in rows]


def _of_check(row: Row) -> tuple[Any, ...]:
    return row["checkpoint"], row["data"], row["version"]


def _known_check(run: Run, digest: str, data_digest: str) -> Row | None:
    """The check of these weights on these images in the run's journal, if it is there."""
    rows: list[Row] = []
    # no journal yet, or a damaged one, which is no reason against what only needs the weights
    with suppress(NotFoundError):
        rows = JournalOutline(run.journal_path).rows
    found = [
        row
        for row in rows
        if row["event"] == "sanity_check" and _of_check(row) == (digest, data_digest, sanity_checks.VERSION)
    ]
    return found[-1] if found else None


def _check(network: nn.Module, source: Dataset, device: torch.device, digest: str) -> Row:
    """Check the network, once for each data set; the result is a row for the journal. Errors: those of the check."""
    x = _images(source, device)
    warnings = sanity_checks.check(network, x, source.test.y[: len(x)].to(device), source.classes)
    if isinstance(network, user_model.UserModel):
        warnings = network.warnings + warnings
    return {
        "event": "sanity_check",
        "checkpoint": digest,
        "data": source.digest,
        "version": sanity_checks.VERSION,
        "n": len(x),
        "warnings": warnings,
    }


def _images(source: Dataset, device: torch.device) -> Tensor:
    """The test images that models are checked with, in [0, 1]."""
    return as_floats(Split(source.test, "cpu").head(sanity_checks.CHECKED).to(device).x)


def _shape(source: Dataset) -> tuple[int, ...]:
    """(c, h, w) of an image."""
    return tuple(source.test.x.shape[1:])


def _sizes(source: Dataset) -> dict[str, Any]:
    channels, image_size, _ = _shape(source)
    return {"channels": channels, "image_size": image_size, "classes": len(source.classes)}


def _data(dataset: str, image_size: int | None) -> Data:
    """The [data] table that the options stand for; RecipeError names the option that is wrong."""
    if dataset not in registry.DATASETS:
        hint = did_you_mean(dataset, registry.DATASETS)
        raise RecipeError(f"--dataset '{dataset}': no such data set ({hint})")
    if dataset == "folder" and image_size is None:
        raise RecipeError("--dataset folder: needs --image-size, the side in pixels that its images are resized to")
    try:
        return Data(dataset=dataset, image_size=image_size)
    except ValidationError as error:
        raise RecipeError(
            f"--image-size {image_size}: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from None


def _earlier(runs: Path, facts: dict[str, Any], agrees: Callable[[Sequence[float]], bool]) -> Run | None:
    """The newest run of the same model, by code, tensors and fingerprint, on the same images."""
    for run in reversed(Run.all(runs)):
        try:
            known = run.provenance
        except AfdctlError:
            continue  # somebody else's damaged file is no reason to stop here
        if all(known.get(key) == facts[key] for key in IDENTITY) and agrees(known["fingerprint"]):
            return run
    return None
