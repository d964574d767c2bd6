"""Models to start from: weights in a safetensors file, and beside it a card (TOML) that describes and measures them."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import tomli_w
from pydantic import Field, field_validator

from afdctl import paths, recipe
from afdctl.errors import CorruptError, RecipeError
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import Count, CountOrZero, Digest, NonNegative, Table
from afdctl.recipe.load import folder
from afdctl.recipe.toml_source import read
from afdctl.runs.folders import never_trained
from afdctl.runs.record import method_of
from afdctl.runs.run import Run

# what a model's name follows where a run may be named
PREFIX: Final = "model:"
# largest file of weights that is read
WEIGHTS_BYTES: Final = 1 << 30
REMEDY: Final = "install afdctl again, or make the model again with `afdctl models add`"
CLEAN: Final = "clean"
AUTOATTACK: Final = "aa"


Share = Annotated[float, Field(ge=0, le=1)]


class Metric(Table):
    """An accuracy in [0, 1] on `n` test images with Wilson's 95 % interval, `low` to `high`.

    `subset` says how the images were chosen. `attack` is "clean" at epsilon 0. `suite` and `changed`, its changed
    settings, are those of a sweep.
    """

    attack: str
    norm: str | None = None
    epsilon: NonNegative
    accuracy: Share
    low: Share
    high: Share
    n: Count
    subset: Literal["all", "sample", "first"] | None = None
    suite: str | None = None
    changed: tuple[str, ...] = Field((), strict=False)


class Training(Table):
    """How the weights were trained: the budget, the checkpoint (step and SHA-256), and with which software."""

    run: str
    checkpoint: Digest
    checkpoint_step: CountOrZero | None = None
    epochs: Count
    steps: Count
    images: Count
    minutes: NonNegative
    device: str
    threads: Count
    data_digest: str
    afdctl: str
    commit: str | None = None
    torch: str


class ModelCard(Table):
    """What a model is. `weights` is the SHA-256 of its file, `recipe` has every value of its training."""

    limits: str
    weights: Digest
    parameters: Count
    training: Training
    metrics: tuple[Metric, ...] = Field(strict=False)
    recipe: recipe.Recipe

    @property
    def method(self) -> str:
        return method_of(self.recipe, "")

    @field_validator("metrics")
    @classmethod
    def _have_the_main_ones(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        if missing := {CLEAN, AUTOATTACK} - {metric.attack for metric in metrics}:
            raise ValueError(f"a card needs the attack {' and '.join(sorted(missing))}")
        return metrics

    def metric(self, attack: str) -> Metric:
        """Return the metric of an attack by its title; every card has those of `CLEAN` and `AUTOATTACK`."""
        return next(metric for metric in self.metrics if metric.attack == attack)

    def dump(self) -> str:
        """Write the card as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


@dataclass(frozen=True)
class StoredModel:
    """A card with its name, and the file of weights beside it."""

    name: str
    card: ModelCard
    weights_path: Path

    @property
    def run_name(self) -> str:
        """The name of the run that holds this model's results: other weights get another run."""
        return f"{self.name}-{self.card.weights[:8]}"

    def find_run(self, runs: Path) -> Run | None:
        """Find the run that holds this model's results; None before it is made."""
        path = runs / self.run_name
        # a killed import leaves a folder that is used again
        return Run.find(str(path), runs) if path.exists() and not never_trained(path) else None

    def read_weights(self) -> bytes:
        """Read the file of weights. Error: CorruptError where it is missing or not the one that the card describes."""
        try:
            data = paths.read(self.weights_path, WEIGHTS_BYTES)
        except OSError as error:
            raise CorruptError(f"{self.weights_path}: cannot be read ({error.strerror}); {REMEDY}") from None
        if sha256(data).hexdigest() != self.card.weights:
            raise CorruptError(f"{self.weights_path}: not the weights that the card describes; {REMEDY}")
        return data


def packaged() -> dict[str, Path]:
    """Map the names of the packaged models to their cards."""
    return paths.packaged_files(folder() / "models")


def load(path_or_name: str) -> StoredModel:
    """Load a model by its name, with or without `model:`, or the path of its card.

    Error: RecipeError for an unknown name or a wrong card.
    """
    path_or_name = path_or_name.removeprefix(PREFIX)
    if not path_or_name:
        raise RecipeError(f"{PREFIX} names no model; `afdctl models ls` lists the packaged ones")
    path = paths.find_packaged(path_or_name, packaged(), "model")
    layer = read(path)
    card = validate(ModelCard, layer.values, [layer])
    return StoredModel(name=path.stem, card=card, weights_path=path.with_suffix(".safetensors"))
