"""The card of a packaged model, written from the results of a run."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from typing import Any

from afdctl import recipe
from afdctl.errors import NotFoundError
from afdctl.formatting import NORM_LABELS, format_epsilon
from afdctl.journal import JournalCache, Row
from afdctl.runs.curves import RobustnessCurve, accuracy_interval
from afdctl.runs.model_card import AUTOATTACK, CLEAN, Metric, ModelCard, Training
from afdctl.runs.provenance import precisions_of, with_precisions
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.runs.selection import GRID
from afdctl.runs.summary import training_progress


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
