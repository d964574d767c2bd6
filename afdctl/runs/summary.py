"""A run in a line: what it is, how it does, its main figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from afdctl.errors import AfdctlError, CorruptError, NotFoundError
from afdctl.journal import Row, writer_pid
from afdctl.runs import checkpoints, removal
from afdctl.runs.record import Record
from afdctl.runs.run import Run

UNREADABLE = (AfdctlError, OSError, LookupError, TypeError, ValueError, AttributeError)
"""What a damaged run raises, somewhere."""


@dataclass(frozen=True)
class RunSummary:
    """Accuracies in [0, 1], times in ISO 8601, `size` in bytes; None where something is not known.

    `split` says where `clean` and `pgd` were measured: on the test split once the training is over, before on the
    hold-out. `pgd` (by the attack `pgd_attack`) and `square`, what Square then left of it where it ran, do not stand
    for AutoAttack; `aa` is AutoAttack's at `aa_epsilon`, the epsilon nearest to the training's. `clean_n`, `pgd_n` and
    `aa_n` say of how many images each is the share, where these are not the whole split. `damage` says why a run could
    not be read, `warnings` what its journal has lost, and what the checks of its network say against its accuracies.
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
    split: str | None = None
    clean: float | None = None
    clean_n: int | None = None
    pgd: float | None = None
    pgd_attack: str | None = None
    pgd_n: int | None = None
    square: float | None = None
    aa: float | None = None
    aa_norm: str | None = None
    aa_epsilon: float | None = None
    aa_n: int | None = None
    started: str | None = None
    written: str | None = None
    size: int | None = None
    damage: str | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Record) -> "RunSummary":
        """The overview of what was read of a run."""
        run, rows = record.run, record.rows
        return cls(
            name=run.name,
            path=str(run.path),
            state=state(rows, at_work=writer_pid(run.journal_path) is not None),
            kind=run.kind,
            dataset=record.dataset,
            method=record.method,
            seed=record.seed,
            **_progress(rows),
            **_accuracies(record),
            **_autoattack(record),
            started=_time(rows[:1]),
            written=_time(rows[-1:]),
            size=removal.size(run.path),
            warnings=(*record.lost, *checkpoints.dangling(run), *record.shown_warnings),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def quick_summary(run: Run) -> tuple[RunSummary, Record | None]:
    """The overview of any run at all, read in a moment; a damaged one has no record."""
    try:
        found = Record.of(run)
        return RunSummary.of(found), found
    except UNREADABLE as error:
        other = isinstance(error, NotFoundError) and not isinstance(error, CorruptError)
        word = "other version" if other else "damaged"
        return RunSummary(run.name, str(run.path), word, size=removal.size(run.path), damage=_words(error)), None


def _words(error: Exception) -> str:
    """What is wrong with a run, in a line."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, AfdctlError) else f"cannot be read ({error!r})"


def state(rows: Sequence[Row], *, at_work: bool) -> str:
    """How a run does, from its last words and from whether a process writes it."""
    said: Row = next((row for row in reversed(rows) if row["event"] in ("swept", "sweep", "end", "step", "run")), {})
    match said.get("event"):
        case None:
            return "starting" if at_work else "not started"
        case "sweep":
            return "attacking" if at_work else "sweep crashed"
        case "step" | "run":
            return "training" if at_work else "crashed"
        case _ if at_work:
            return "at work"
        case "swept" if said["reason"] == "finished":
            return "swept"
        case "swept":
            return f"sweep {said['reason']}"
    return str(said["reason"])


def training_progress(record: Record) -> str | None:
    """How far an unfinished training came: `stopped at epoch 3 of 60`.

    None for a finished training, and for a model that was not trained here.
    """
    reasons = {row["reason"] for row in record.of_kind("end")}
    if record.run.kind != "trained" or record.recipe is None or "finished" in reasons:
        return None
    if writer_pid(record.run.journal_path) is not None:
        stage = "is still training"
    else:
        stage = "diverged" if "diverged" in reasons else "stopped"
    epoch = max((row["epoch"] for row in record.of_kind("epoch")), default=0)
    return f"{stage} at epoch {epoch} of {record.recipe.train.epochs}"


def _progress(rows: Sequence[Row]) -> dict[str, Any]:
    """The epoch at work, or the last one, of how many."""
    totals: Row = next((row for row in rows if row["event"] == "run"), {})
    epochs = [row["epoch"] for row in rows if row["event"] in ("step", "epoch")]
    return {"epoch": epochs[-1] if epochs else None, "epochs": totals.get("epochs")}


def _accuracies(record: Record) -> dict[str, Any]:
    tests, validations = record.of_kind("test"), [row for row in record.of_kind("epoch") if "acc_nat" in row]
    if tests:
        row = tests[-1]
        return {"split": "test", **_clean(record), **_robust(row), "pgd_attack": row["attack"], "pgd_n": _few(row)}
    if record.clean():
        return {"split": "test", **_clean(record)}
    if validations:
        row = validations[-1]
        return {"split": "validation", "clean": row["acc_nat"], **_robust(row), "pgd_attack": "PGD"}
    return {}


def _clean(record: Record) -> dict[str, Any]:
    row = record.clean()
    return {"clean": row["acc_nat"], "clean_n": _few(row)} if row else {}


def _few(row: Row) -> int | None:
    """How many images a result is of, where these are not the whole split."""
    return row["n"] if row["n"] < row.get("split_n", row["n"]) else None


def _robust(row: Row) -> dict[str, Any]:
    return {"pgd": row["acc_adv"], "square": row.get("acc_square")}


def _autoattack(record: Record) -> dict[str, Any]:
    cells = [
        cell for curve in record.curves.values() if curve.autoattack and curve.source is None for cell in curve.cells
    ]
    if not cells:
        return {}
    trained = record.recipe.attack if record.recipe else None
    same_ball = [cell for cell in cells if trained and cell["norm"] == trained.norm] or cells
    wanted = trained.epsilon if trained else 0.0
    nearest = min(same_ball, key=lambda cell: (abs(cell["epsilon"] - wanted), -cell["n"]))
    return {
        "aa": nearest["accuracy"],
        "aa_norm": nearest["norm"],
        "aa_epsilon": nearest["epsilon"],
        "aa_n": _few(nearest),
    }


def _time(rows: Sequence[Row]) -> str | None:
    """When a row was written: local time with its offset."""
    for row in rows:
        return datetime.fromtimestamp(row["t"]).astimezone().isoformat(timespec="seconds")
    return None
