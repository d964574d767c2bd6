"""A run in one line, for `runs ls`, `runs show` and the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from afdctl.errors import AfdctlError, CorruptError, NotFoundError
from afdctl.journal import Row, current_writer
from afdctl.runs import checkpoints
from afdctl.runs.files import size_on_disk
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.runs.status import DAMAGED, OTHER_VERSION, TRAINING, status_of

# Exceptions that reading a damaged run can raise.
UNREADABLE: Final = (AfdctlError, OSError, LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class RunSummary:
    """Accuracies in [0, 1], times in ISO 8601, `size` in bytes; None for what is not known.

    `split` is where `clean` and `pgd` were measured: the test split after the training, before it the hold-out split.
    `pgd` (by the attack `pgd_attack`), `square`, the accuracy after Square on top of it, and `probe`, that under the
    probe on the hold-out, are no substitute for AutoAttack: `aa` at `aa_epsilon`, the evaluated epsilon nearest to the
    training's. `clean_n`, `pgd_n` (also Square's and the probe's) and `aa_n` are numbers of images. `checkpoint` was
    attacked: `best`, `last` or the start of a digest. `alarms` counts those of the training. `damage` is why a run
    could not be read, `warnings` what its journal has lost and what sanity checks of its network found.
    """

    name: str
    path: str
    state: str
    kind: str | None = None
    dataset: str | None = None
    method: str | None = None
    seed: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    checkpoint: str | None = None
    split: str | None = None
    clean: float | None = None
    clean_n: int | None = None
    pgd: float | None = None
    pgd_attack: str | None = None
    pgd_n: int | None = None
    square: float | None = None
    square_queries: int | None = None
    probe: float | None = None
    aa: float | None = None
    aa_norm: str | None = None
    aa_epsilon: float | None = None
    aa_n: int | None = None
    started: str | None = None
    trained_until: str | None = None
    written: str | None = None
    size: int | None = None
    alarms: int | None = None
    damage: str | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Record) -> "RunSummary":
        """Summarize a record."""
        run, rows, of_training = record.run, record.rows, TRAINING | {"epoch", "test", "end"}
        # each reading of `kind` verifies run.json
        kind = run.kind
        trained = [row for row in rows if row["event"] in of_training] if kind == "trained" else []
        return cls(
            name=run.name,
            path=str(run.path),
            state=status_of(record),
            kind=kind,
            dataset=record.dataset,
            method=record.method,
            seed=record.seed,
            **_progress(rows),
            checkpoint=record.checkpoint_name("cell"),
            **_accuracies(record),
            **_autoattack(record),
            started=_time(rows[:1]),
            trained_until=_time(trained[-1:]),
            written=_time(rows[-1:]),
            size=size_on_disk(run.path),
            alarms=len(record.of_kind("alarm")),
            warnings=(*record.lost, *checkpoints.dangling_pointers(run), *record.shown_warnings),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def quick_summary(run: Run) -> tuple[RunSummary, Record | None]:
    """Summarize a run in any condition; a damaged one has no record."""
    try:
        record = Record.of(run)
        return RunSummary.of(record), record
    except UNREADABLE as error:
        # CorruptError is a NotFoundError too; only the plain one means another schema
        is_other_version = isinstance(error, NotFoundError) and not isinstance(error, CorruptError)
        summary = RunSummary(
            name=run.name,
            path=str(run.path),
            state=OTHER_VERSION if is_other_version else DAMAGED,
            size=size_on_disk(run.path),
            damage=_reason(error),
        )
        return summary, None


def training_progress(record: Record) -> str | None:
    """Say how far an unfinished training came: `stopped in epoch 3 of 60`.

    None for a finished training, and for a model that was not trained here.
    """
    reasons = {row["reason"] for row in record.of_kind("end")}
    if record.run.kind != "trained" or record.recipe is None or "finished" in reasons:
        return None
    if current_writer(record.run.journal_path):
        stage = "is still training"
    else:
        stage = next((reason for reason in ("diverged", "failed") if reason in reasons), "stopped")
    epoch = _progress(record.rows)["epoch"]
    where = "before its first step" if epoch is None else f"in epoch {epoch} of {record.recipe.train.epochs}"
    return f"{stage} {where}"


def _reason(error: Exception) -> str:
    """Return in one line why a run cannot be read."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, AfdctlError) else f"cannot be read ({error!r})"


def _progress(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the present or last epoch, and the number of epochs."""
    first_row: Row = next((row for row in rows if row["event"] == "run"), {})
    epochs = [row["epoch"] for row in rows if row["event"] in ("step", "epoch")]
    return {"epoch": epochs[-1] if epochs else None, "epochs": first_row.get("epochs")}


def _accuracies(record: Record) -> dict[str, Any]:
    if test := record.test():
        return {"split": "test", **_clean(record), **_robust(test), "pgd_attack": test["attack"]}
    # an imported or custom model has no test of a training, but its cells have a clean accuracy
    if record.clean():
        return {"split": "test", **_clean(record)}
    if validations := [row for row in record.of_kind("epoch") if "acc_nat" in row]:
        row = validations[-1]
        return {
            "split": "validation",
            "clean": row["acc_nat"],
            "clean_n": row.get("n"),
            **_robust(row),
            "pgd_attack": "APGD-CE",
            "probe": row.get("acc_probe"),
        }
    return {}


def _clean(record: Record) -> dict[str, Any]:
    return {"clean": row["acc_nat"], "clean_n": row["n"]} if (row := record.clean()) else {}


def _robust(row: Row) -> dict[str, Any]:
    names = {"pgd": "acc_adv", "pgd_n": "n", "square": "acc_square", "square_queries": "square_queries"}
    return {name: row.get(field) for name, field in names.items()}


def _autoattack(record: Record) -> dict[str, Any]:
    cells = [
        cell for curve in record.curves.values() if curve.autoattack and curve.source is None for cell in curve.cells
    ]
    if not cells:
        return {}
    training_attack = record.recipe.attack if record.recipe else None
    same_norm = [cell for cell in cells if training_attack and cell["norm"] == training_attack.norm] or cells
    epsilon = training_attack.epsilon if training_attack else 0.0
    # of two cells that are equally near, the one on more images
    nearest = min(same_norm, key=lambda cell: (abs(cell["epsilon"] - epsilon), -cell["n"]))
    return {
        "aa": nearest["accuracy"],
        "aa_norm": nearest["norm"],
        "aa_epsilon": nearest["epsilon"],
        "aa_n": nearest["n"],
    }


def _time(rows: Sequence[Row]) -> str | None:
    """Return when the first of these rows was written, as local time with its offset."""
    return datetime.fromtimestamp(rows[0]["t"]).astimezone().isoformat(timespec="seconds") if rows else None
