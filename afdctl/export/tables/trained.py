"""How far the training of a run came."""

from afdctl.events import alive
from afdctl.export.tables.missing import Need, word
from afdctl.recipe.find import packaged
from afdctl.store.record import Record

RECIPES = {"NT": "nt", "AT": "at", "TRADES": "trades", "AFD-DCGAN": "dcgan", "AFD-WGAN": "wgan"}


def training(dataset: str, method: str) -> Need | None:
    """What makes a run of a method of the paper: its packaged recipe, or None for a data set that has none."""
    name = f"{dataset}_{RECIPES[method]}"
    return Need("train", name) if name in packaged() else None


def unfinished(record: Record) -> bool:
    """Whether the training of this run began here and has not come to its end."""
    ended = any(row["reason"] == "finished" for row in record.of_kind("end"))
    return record.run.kind == "trained" and not ended


def resumption(record: Record) -> Need | None:
    """What brings a half run to its end; None for one that is at it, and for one that diverged."""
    if alive(record.run.journal_path) is not None or _diverged(record):
        return None
    return Need("train", f"--resume {word(record.run)}")


def state(record: Record) -> str:
    """How far an unfinished training came: `stopped at epoch 3 of 60`."""
    if alive(record.run.journal_path) is not None:
        ended = "is still training"
    else:
        ended = "diverged" if _diverged(record) else "stopped"
    assert record.recipe is not None
    done = max((row["epoch"] for row in record.of_kind("epoch")), default=0)
    return f"{ended} at epoch {done} of {record.recipe.train.epochs}"


def _diverged(record: Record) -> bool:
    return any(row["reason"] == "diverged" for row in record.of_kind("end"))
