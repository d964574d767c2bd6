"""Runs with journals made by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afdctl import recipe
from afdctl.export.tables.paper import table_a2
from afdctl.runs.curves import wilson
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.journals import run_row

Rows = list[dict[str, Any]]
DIGEST = "b" * 64
FACTS = {"device": "cpu", "device_name": "", "threads": 1}
END: Rows = [{"event": "end", "step": 10, "reason": "finished", "exit_code": 0, "message": None}]
SAVED: Rows = [{"event": "checkpoint", "step": 10, "epoch": 1, "file": "x", "digest": DIGEST, "best": True}]


def record(root: Path, name: str, of: str, rows: Rows, *overrides: str, **facts: Any) -> Record:
    """A run of a packaged recipe whose journal holds `rows`, trained to its end unless `rows` say otherwise."""
    chosen = recipe.load(of, overrides)
    run = Run.create(root, name, recipe.dump(chosen), FACTS | facts, name=name)
    ended = [] if any(row["event"] == "end" for row in rows) else END
    with run.open_journal() as journal:
        journal.extend([run_row(), *SAVED, *rows, *ended])
    return Record.of(run)


def cells(
    attack: str,
    accuracies: Mapping[float, float],
    dataset: str = "mnist",
    source: str | None = None,
    n: int = 1000,
    seed: int = 0,
    checkpoint: str = DIGEST,
    acc_nat: float = 0.99,
    **settings: Any,
) -> Rows:
    """The cells of one attack over its grid, as Table A2 sets it up but for `settings`."""
    spec = table_a2(dataset)[attack].model_dump(mode="json", exclude={"label", "datasets"}) | settings
    rows = []
    for epsilon, accuracy in accuracies.items():
        low, high = wilson(round(accuracy * n), n)
        rows.append(
            {
                "event": "cell",
                "last": max(accuracies),
                "key": "k",
                "attack": attack,
                "norm": spec["norm"],
                "epsilon": epsilon,
                "source": source,
                "schedule": "ascending",
                "spec": spec,
                "checkpoint": checkpoint,
                "n": n,
                "seed": seed,
                "acc_nat": acc_nat,
                "accuracy": accuracy,
                "low": low,
                "high": high,
                "grid": None,
                "suite": "paper-A2",
                "changed": [],
                "precision": "float32",
                "forwards": 1,
                "backwards": 1,
                "seconds": 1.0,
                "shard": "s.h5",
                "images": False,
            }
        )
    return rows
