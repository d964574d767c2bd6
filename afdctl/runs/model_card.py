"""Models to start from: weights in a safetensors file, and beside it a card (TOML) that describes and measures them."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tomli_w
from pydantic import Field, field_validator

from afdctl import paths, recipe
from afdctl.errors import CorruptError, NotFoundError, RecipeError
from afdctl.formatting import NORM_LABELS, format_epsilon
from afdctl.journal import JournalCache, Row
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import Count, CountOrZero, Digest, NonNegative, Table
from afdctl.recipe.load import folder
from afdctl.recipe.toml_source import read
from afdctl.runs.curves import RobustnessCurve, accuracy_interval
from afdctl.runs.folders import never_trained
from afdctl.runs.provenance import precisions_of, with_precisions
from afdctl.runs.record import Record, method_of
from afdctl.runs.run import Run
from afdctl.runs.selection import GRID
from afdctl.runs.summary import training_progress

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
    """Load a model by its name or the path of its card. Error: RecipeError for an unknown name or a wrong card."""
    if not path_or_name:
        raise RecipeError(f"{PREFIX} names no model; `afdctl models ls` lists the packaged ones")
    path = paths.find_packaged(path_or_name, packaged(), "model")
    layer = read(path)
    card = validate(ModelCard, layer.values, [layer])
    return StoredModel(name=path.stem, card=card, weights_path=path.with_suffix(".safetensors"))


def describe(record: Record, *, digest: str, weights: bytes, parameters: int, limits: str | None) -> ModelCard:
    """Write the card of a run's `best` checkpoint, with SHA-256 `digest`, from the results of the run.

    Error: NotFoundError for a run that was not trained to its end here, or has no AutoAttack result.
    """
    run, chosen = record.run, record.recipe
    if chosen is None or run.kind != "trained":
        raise NotFoundError(f"{run.name}: this run is {run.kind}, not trained; a card describes a training")
    if progress := training_progress(record):
        raise NotFoundError(f"{run.name}: {progress}; finish it with `afdctl train --resume {run.path}`")
    (header,), saved = record.of_kind("run")[:1], record.of_kind("checkpoint")
    facts, metrics = run.provenance, tuple(_metrics(record, chosen, digest))
    return ModelCard(
        limits=limits or _default_limits(chosen),
        weights=sha256(weights).hexdigest(),
        parameters=parameters,
        training=Training(
            run=run.name,
            checkpoint=digest,
            checkpoint_step=next((row["step"] for row in saved if row["digest"] == digest), None),
            epochs=header["epochs"],
            steps=header["steps_total"],
            images=header["images"]["train"],
            minutes=round(_training_seconds(run) / 60, 1),
            device=f"{facts['device']} {facts['device_name']}".strip(),
            threads=facts["threads"],
            data_digest=facts["data_digest"],
            afdctl=facts["afdctl"],
            commit=facts["commit"],
            torch=facts["torch"],
        ),
        metrics=metrics,
        # `auto` would not say what the training computed in
        recipe=with_precisions(chosen, precisions_of(facts, chosen)),
    )


def _metrics(record: Record, chosen: recipe.Recipe, digest: str) -> Iterator[Metric]:
    """Yield clean accuracy, the final test, and the attacks in the norm and at the epsilon of the training."""
    epsilon, norm = chosen.attack.epsilon, chosen.attack.norm
    # images made on another model are a weaker attack, and another checkpoint is another model
    curves = [curve for curve in record.curves.values() if curve.source is None and curve.checkpoint == digest]
    cells = [
        (curve, cell) for curve in curves for cell in curve.cells if (curve.norm, cell["epsilon"]) == (norm, epsilon)
    ]
    if not any(_is_full_autoattack(curve, cell) for curve, cell in cells):
        command = f"afdctl attack {record.run.path} --attack aa --epsilon {format_epsilon(epsilon)}"
        raise NotFoundError(
            f"{record.name}: no AutoAttack with its own settings at {NORM_LABELS[norm]} {format_epsilon(epsilon)} on "
            f"the best checkpoint; run `{command}`"
        )
    # of the best checkpoint, which outranks all others and has the cells above
    clean = record.clean()
    assert clean is not None
    yield _metric(CLEAN, 0.0, clean["acc_nat"], clean)
    for row in record.of_kind("test"):
        if row["checkpoint"] == "best":
            yield _metric(row["attack"], epsilon, row["acc_adv"], row, norm=norm)
    for _, cell in cells:
        yield _metric(
            cell["attack"],
            epsilon,
            cell["accuracy"],
            cell,
            norm=norm,
            suite=cell["suite"],
            changed=tuple(key for key in cell["changed"] if key != GRID),
        )


def _metric(attack: str, epsilon: float, accuracy: float, row: Row, **more: Any) -> Metric:
    images = {"n": row["n"], "subset": row.get("subset")}
    # six digits identify the count of any n below half a million
    share, low, high = (round(value, 6) for value in (accuracy, *accuracy_interval(accuracy, row["n"])))
    return Metric(attack=attack, epsilon=epsilon, accuracy=share, low=low, high=high, **images, **more)


def _is_full_autoattack(curve: RobustnessCurve, cell: Row) -> bool:
    """Whether a cell is AutoAttack without what would flatter the model, such as fewer queries."""
    full = curve.autoattack and curve.precision == "float32" and not set(cell["changed"]) - {GRID}
    # a suite may label a variant of it
    return full and curve.attack == AUTOATTACK


def _training_seconds(run: Run) -> float:
    """Add up the time from the first row to the end of the training, without the pauses before a resume."""
    # all rows, because those that a resume superseded took time too
    rows = JournalCache.of(run.journal_path).of_event("run", "resume", "epoch", "checkpoint", "end")
    return sum(float(after["t"] - before["t"]) for before, after in pairwise(rows) if after["event"] != "resume")


def _default_limits(chosen: recipe.Recipe) -> str:
    attack = chosen.attack
    ball = f"{NORM_LABELS[attack.norm]} {format_epsilon(attack.epsilon)}"
    return (
        f"For research: accuracy under attack was measured at {ball} on test images of {chosen.data.dataset}. Other "
        f"perturbations, larger epsilons and other images may fool the model."
    )
