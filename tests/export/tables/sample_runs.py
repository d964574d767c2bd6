"""Write runs with given rows in their journals."""

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
PROVENANCE = {"device": "cpu", "device_name": "", "threads": 1}
END: Rows = [{"event": "end", "step": 10, "reason": "finished", "exit_code": 0, "message": None}]
SAVED: Rows = [{"event": "checkpoint", "step": 10, "epoch": 1, "file": "x", "digest": DIGEST, "best": True}]


def make_record(root: Path, name: str, recipe_name: str, rows: Rows, *overrides: str, **provenance: Any) -> Record:
    """Write a run of a packaged recipe with these rows in its journal, finished unless they contain an end."""
    chosen = recipe.load(recipe_name, overrides)
    run = Run.create(root, name, recipe.dump(chosen), PROVENANCE | provenance, name=name)
    ended = [] if any(row["event"] == "end" for row in rows) else END
    with run.open_journal() as journal:
        journal.extend([run_row(), *SAVED, *rows, *ended])
    return Record.of(run)


def cell_rows(
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
    """Return the cells of an attack with the settings of Table A2, changed by `settings`."""
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
