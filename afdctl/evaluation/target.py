"""Load what is attacked: a run's network or a custom model, with the test images and the digests that key results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from afdctl import recipe, registry
from afdctl.data import Dataset, ImageTensors
from afdctl.data.loader import Split
from afdctl.errors import AfdctlError, CorruptError, NoResultsError, RecipeError
from afdctl.evaluation import known_checks, sanity_checks
from afdctl.evaluation.outputs import check_images, compute_fingerprint, matches_fingerprint
from afdctl.formatting import did_you_mean
from afdctl.journal import Row
from afdctl.models import user_model
from afdctl.models.feature_classifier import build
from afdctl.recipe.data import Data
from afdctl.runs import checkpoints, user_files
from afdctl.runs.provenance import environment
from afdctl.runs.record import lost_rows
from afdctl.runs.run import Run
from afdctl.training.rng import seeded_init
from afdctl.training.run_data import data_folder, load_dataset, load_run_dataset

# what two runs of a custom model must share, besides the fingerprint, for their results to be the same
IDENTITY = ("kind", "code_digest", "dataset", "data_digest")


@dataclass(frozen=True, kw_only=True)
class EvaluationTarget:
    """A network on its device, frozen and in evaluation mode; `split` is the whole test split on the same device.

    `digest` identifies the network (the checkpoint's digest, or a custom model's `model_digest`), `data_digest` the
    images. Results go to `run`. `check` is the journal's row of the network's sanity checks on these images;
    `warnings` are those of the check and of loading, `notes` tell how the images were read. `load_training` reads the
    training images again, which an evaluation rarely needs; None where there are none.
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
    check: Row = field(default_factory=dict)
    load_training: Callable[[], ImageTensors] | None = None


def load_run_target(run: Run, which: str, device: torch.device, data_dir: Path | None) -> EvaluationTarget:
    """Load the network of a run's checkpoint: `best`, `last` or a file name. Of a custom model's run, load the model.

    Errors: NotFoundError for a run without that checkpoint, CorruptError where files or images have changed.
    """
    if run.kind == "external":
        return _reload_user_target(run, device, data_dir)
    config = recipe.loads(run.recipe_text, run.path)
    checkpoint = checkpoints.load(run, which)
    # a sweep would begin a new journal, which knows nothing of the training
    if not run.journal_path.exists():
        raise CorruptError(f"{run.journal_path}: missing; restore it from a copy")
    load = partial(load_run_dataset, run, config.data, data_dir)
    dataset = load()
    channels, image_size, _ = dataset.test.x.shape[1:]
    with seeded_init(config.seed):  # a notebook's random numbers stay as they are
        network = build(
            **config.model.architecture, channels=channels, image_size=image_size, classes=len(dataset.classes)
        )
    with checkpoints.fitting(checkpoint):
        network.load_state_dict(checkpoint.network)
    digest, warnings = checkpoint.digest, list(checkpoint.warnings)
    # files of the run, which are verified here, or of an installed package, which may be another version by now
    if changed := user_files.changes(config, config.user_code, ("data", "model")):
        code_digest = user_files.digest(config, ("data", "model"))
        digest = sha256(f"{digest} {code_digest}".encode()).hexdigest()
        warnings.append(f"{changed} has changed since the training; these results are of the code as it is now")
    # under the name that tables and suites know
    dataset = replace(dataset, name=config.dataset)
    facts: dict[str, Any] = {"digest": digest, "own_code": "model" in (config.user_code or {}), "seed": config.seed}
    return make_target(run, network, dataset, device, **facts, warnings=warnings, load=load)


def load_user_target(
    spec: str,
    *,
    dataset: str,
    runs: Path,
    device: torch.device,
    data_dir: Path | None = None,
    weights: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    make: bool = True,
) -> EvaluationTarget:
    """Load a custom model (see `user_model.load`); its results go to the run of the same model, if any, or a new one.

    Errors: those of `user_model.load`, of `sanity_checks.measure` and of `load_dataset`, and NoResultsError where only
    a new run would do, without `make`. They leave no run behind.
    """
    table = data_table(dataset, image_size)
    images = load_dataset(table, data_dir)
    network = _load_user_model(spec, images, device, weights=weights, mean=mean, std=std)
    x, classes = check_images(images, device), len(images.classes)
    code_digest, fingerprint = user_model.digest(network), compute_fingerprint(network, x, classes)
    digest = known_checks.digest_with_outputs(code_digest, fingerprint)
    facts = {
        "kind": "external",
        "model": str(user_model.parse(spec)),
        "weights": None if weights is None else str(weights.resolve()),
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "code_digest": code_digest,
        "fingerprint": fingerprint,
        "model_digest": digest,
        "dataset": dataset,
        "image_size": image_size,
        "data_digest": images.digest,
        "data_dir": data_folder(table, data_dir),
        "seed": 0,
    }
    run = _find_run(runs, facts, lambda known: matches_fingerprint(network, x, classes, known))
    check = None
    if run is None:
        if not make:
            raise NoResultsError(f"{spec}: nothing is measured of this model under {runs}; leave --stored out")
        # a model that fails its check must not leave a run behind
        check = sanity_checks.run_check(network, images, device, digest)
        parsed = user_model.parse(spec)
        run = Run.create(runs, f"{parsed.stem}-{parsed.name}", None, facts | environment(device))
    return make_target(
        run,
        network,
        images,
        device,
        digest=run.provenance["model_digest"],
        check=check,
        load=partial(load_dataset, table, data_dir),
    )


def make_target(
    run: Run,
    network: nn.Module,
    dataset: Dataset,
    device: torch.device,
    *,
    digest: str,
    seed: int = 0,
    warnings: Sequence[str] = (),
    check: Row | None = None,
    own_code: bool = False,
    load: Callable[[], Dataset],
) -> EvaluationTarget:
    """Freeze the network, and take its check from the journal or make it where the journal has none.

    `load` reads the data set again; `own_code` is that of `known_checks.find_or_make`.
    """
    network = network.to(device).eval().requires_grad_(False)
    try:
        check = check or known_checks.find_or_make(run, network, dataset, device, digest, own_code=own_code)
    except RecipeError as error:
        raise RecipeError(f"{run.name}: {error}") from error
    return EvaluationTarget(
        name=run.name,
        network=network,
        split=Split(dataset.test, device),
        classes=len(dataset.classes),
        digest=check["checkpoint"],
        data_digest=dataset.digest,
        seed=seed,
        run=run,
        dataset=dataset.name,
        warnings=[*warnings, *lost_rows(run), *check["warnings"]],
        class_names=dataset.classes,
        notes=dataset.notes,
        check=check,
        load_training=lambda: load().train,
    )


def _reload_user_target(run: Run, device: torch.device, data_dir: Path | None) -> EvaluationTarget:
    """Load the model of a custom model's run again; CorruptError where it has changed."""
    facts = run.provenance
    load = partial(load_run_dataset, run, data_table(facts["dataset"], facts["image_size"]), data_dir)
    images = load()
    weights = facts["weights"] and Path(facts["weights"])
    network = _load_user_model(facts["model"], images, device, weights=weights, mean=facts["mean"], std=facts["std"])
    x, classes = check_images(images, device), len(images.classes)
    unchanged = user_model.digest(network) == facts.get("code_digest")
    if not unchanged or not matches_fingerprint(network, x, classes, facts["fingerprint"]):
        raise CorruptError(f"{run.path}: the model {facts['model']} has changed since; name it with --model instead")
    return make_target(run, network, images, device, digest=facts["model_digest"], seed=facts["seed"], load=load)


def _load_user_model(
    spec: str,
    dataset: Dataset,
    device: torch.device,
    *,
    weights: Path | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> user_model.UserModel:
    shape = tuple(dataset.test.x.shape[1:])
    if mean is not None and len(mean) != shape[0]:
        raise RecipeError(
            f"--mean and --std have {len(mean)} values, images of {dataset.name} have {shape[0]} channels"
        )
    return user_model.load(spec, weights, mean, std, shape=shape).to(device)


def data_table(dataset: str, image_size: int | None) -> Data:
    """Build the [data] table that the options stand for; RecipeError names the wrong option."""
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


def _find_run(runs: Path, facts: dict[str, Any], matches: Callable[[Sequence[float]], bool]) -> Run | None:
    """Find the newest run of the same model, by code, tensors and fingerprint, on the same images."""
    for run in reversed(Run.all(runs)):
        try:
            provenance = run.provenance
        except AfdctlError:
            continue  # another run's damaged file does not matter here
        if all(provenance.get(key) == facts[key] for key in IDENTITY) and matches(provenance["fingerprint"]):
            return run
    return None
