"""Find the weights that a training starts from (`model.weights`): a run, a packaged model, or a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from afdctl import paths, recipe
from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.formatting import join_words
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.initial_weights import load_initial_weights
from afdctl.models.state_dict_io import find_state_dict, parse, read_bytes, safetensors_metadata
from afdctl.recipe import Recipe
from afdctl.recipe.model import Model
from afdctl.runs import checkpoints, model_card
from afdctl.runs.model_card import PREFIX
from afdctl.runs.run import Run

FILE_SUFFIXES: Final = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class InitialWeights:
    """A state dict, the file that it is from, and its SHA-256; `norm` is its feature normalisation, if known.

    `table` is the [model] table of its recipe, if known; `source` is what else identifies it, for a run's provenance;
    `warnings` are those of reading it.
    """

    state: Mapping[str, Any]
    path: Path
    digest: str
    norm: str | None = None
    table: Model | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def provenance(self) -> dict[str, Any]:
        return {**self.source, "file": str(self.path.resolve()), "sha256": self.digest}

    def load_into(self, network: FeatureClassifier, table: Model) -> list[str]:
        """Load the weights into a network of a [model] table; return warnings. Error: RecipeError for another one."""
        try:
            notes = load_initial_weights(network, self.state, self.path, self.norm)
        except RecipeError as error:
            raise RecipeError(f"model.weights: {self._difference(table) or error}") from error
        return [*self.warnings, *notes]

    def _difference(self, table: Model) -> str:
        """Return how the network of the weights differs from that of a [model] table; empty if unknown."""
        if self.table is None:
            return ""
        pairs = {key: (getattr(self.table, key), getattr(table, key)) for key in ("encoder", "width")}
        # an encoder whose name decides its width has none
        other = {key: pair for key, pair in pairs.items() if None not in pair and pair[0] != pair[1]}
        found = [f"{key} {theirs}, this recipe has {mine}" for key, (theirs, mine) in other.items()]
        remedy = join_words([f"model.{key} = {json.dumps(theirs)}" for key, (theirs, _) in other.items()])
        return f"{self.path}: {'; '.join(found)}; set {remedy}" if found else ""


def find_initial_weights(chosen: Recipe, runs: Path) -> InitialWeights | None:
    """Read what `model.weights` names, where `runs` has the runs; None for a recipe without it.

    Errors: NotFoundError, CorruptError; RecipeError for other weights than `model.weights_sha256` names.
    """
    if chosen.model.weights is None:
        return None
    try:
        weights = _read(chosen.model.weights, runs)
    except AfdctlError as error:
        raise type(error)(f"model.weights: {error}") from error
    if chosen.model.weights_sha256 not in (None, weights.digest):
        raise RecipeError(
            f"model.weights: {weights.path}: has another SHA-256 than model.weights_sha256 ({weights.digest}); remove "
            f"that key to start from these weights"
        )
    return weights


def with_digest(chosen: Recipe, weights: InitialWeights) -> Recipe:
    """Return the recipe with the SHA-256 of its initial weights, which makes it part of the recipe's own digest."""
    return chosen.model_copy(update={"model": chosen.model.model_copy(update={"weights_sha256": weights.digest})})


def _read(name: str, runs: Path) -> InitialWeights:
    if name.startswith(PREFIX):
        return _of_model(name)
    if Path(name).suffix in FILE_SUFFIXES:
        return _of_file(paths.path(name))
    try:
        return _of_run(Run.find(name, runs, "name a run's folder"))
    except CorruptError:
        raise
    except NotFoundError as error:
        raise NotFoundError(f"{error} (a file of weights has the suffix {', '.join(FILE_SUFFIXES)})") from error


def _of_model(name: str) -> InitialWeights:
    model = model_card.load(name)
    return InitialWeights(
        state=parse(model.read_weights(), model.weights_path),
        path=model.weights_path,
        digest=model.card.weights,
        norm=model.card.recipe.model.norm,
        table=model.card.recipe.model,
        source={"model": model.name},
    )


def _of_file(path: Path) -> InitialWeights:
    data = read_bytes(path)
    state = find_state_dict(parse(data, path), path)
    # as `afdctl export --weights safetensors` writes it, in JSON
    norm = safetensors_metadata(data).get("feature_norm") if path.suffix == ".safetensors" else None
    return InitialWeights(state=state, path=path, digest=sha256(data).hexdigest(), norm=norm and norm.strip('"'))


def _of_run(run: Run) -> InitialWeights:
    """Read the network of a run's best checkpoint, its moving average if it has one."""
    if run.kind == "external":
        raise RecipeError(f"{run.path}: this run evaluates a custom model; name its file of weights")
    loaded, table = checkpoints.load(run, "best"), recipe.loads(run.recipe_text).model
    with checkpoints.fitting(loaded):
        state = loaded.network
    return InitialWeights(
        state=state,
        path=loaded.path,
        digest=loaded.digest,
        norm=table.norm,
        table=table,
        source={"run": run.name},
        warnings=tuple(loaded.warnings),
    )
