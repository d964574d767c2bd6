"""Write runs with given cells of attacks and given results of analyses."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from afdctl import recipe
from afdctl.recipe.dump import dump
from afdctl.runs import shards
from afdctl.runs.curves import wilson
from afdctl.runs.record import Record
from afdctl.runs.run import Run

Row = dict[str, Any]
EPSILONS = (0.1, 0.3)
N = 200


def make_record(folder: Path, name: str, rows: Iterable[Row] = (), *, seed: int = 0) -> Record:
    """Write a run of a packaged recipe with these rows in its journal."""
    chosen = recipe.load(name, [f"seed={seed}"])
    run = Run.create(folder, name, dump(chosen), {"git": None}, name=f"{name}-{seed}")
    with run.open_journal() as journal:
        journal.extend(rows)
    return Record.of(run)


def sweep_rows(attacks: Mapping[str, Mapping[float, float]], acc_nat: float = 0.9, n: int = N) -> list[Row]:
    """Return the cells of attack -> epsilon -> accuracy."""
    return [
        {
            "event": "cell",
            "key": f"{attack}{epsilon:g}",
            "attack": attack,
            "norm": "linf",
            "epsilon": epsilon,
            "source": None,
            "spec": {"name": attack},
            "grid": None,
            "suite": "mine",
            "changed": [],
            "precision": "float32",
            "schedule": "ascending",
            "checkpoint": "d1",
            "n": n,
            "seed": 0,
            "acc_nat": acc_nat,
            "accuracy": accuracy,
            "low": wilson(round(accuracy * n), n).low,
            "high": wilson(round(accuracy * n), n).high,
            "forwards": 1,
            "backwards": 1,
            "seconds": 0.1,
            "shard": f"{attack}-0.h5",
            "images": False,
        }
        for attack, cells in attacks.items()
        for epsilon, accuracy in cells.items()
    ]


def with_analysis(record: Record, name: str, figures: Row, arrays: Mapping[str, Any] | None = None) -> Record:
    """Add an analysis to the run."""
    converted = {key: np.asarray(value) for key, value in (arrays or {}).items()}
    shard = shards.write(record.run, name, converted) if arrays else None
    with record.run.open_journal() as journal:
        journal.append(
            "analysis", name=name, key="k", checkpoint="d1", n=N, seed=0, metrics=figures, shard=shard, features=[]
        )
    return Record.of(record.run)


def with_pca(record: Record, explained: list[float], dims: int) -> Record:
    figures = {"dims": dims, "features": len(explained), "share": 0.99}
    return with_analysis(record, "pca", figures, {"explained": np.array(explained)})


def with_units(record: Record, largest: list[float]) -> Record:
    figures = {"units": sum(value > 0 for value in largest), "features": len(largest)}
    return with_analysis(record, "units", figures, {"largest": np.array(largest)})


def with_sensitivity(record: Record, median: list[float], std: list[float]) -> Record:
    epsilons = list(EPSILONS[: len(median)])
    figures = {"attack": "pgd_linf", "norm": "linf", "epsilons": epsilons, "median": median, "std": std}
    return with_analysis(record, "sensitivity", figures, {"sensitivity": np.ones((len(median), N))})


def with_norms(record: Record, shift: float = 0) -> Record:
    """Add norms at 0 and EPSILONS: medians 1, 2, 3 plus shift, ten times that for logits, margins 0.3 to 0.1."""
    median = np.array([1.0, 2.0, 3.0]) + shift
    summaries = {"feature_norm": median, "logit_scale": 10 * median, "margin": np.array([0.3, 0.2, 0.1])}
    figures = {key: {"median": value.tolist(), "std": (0.1 * np.ones(3)).tolist()} for key, value in summaries.items()}
    return with_analysis(record, "norms", {"attack": "pgd_linf", "norm": "linf", "epsilons": [0, *EPSILONS], **figures})


def with_map(record: Record, name: str = "tsne", classes: int = 10, n: int = N) -> Record:
    """Add clusters on a circle that shrinks with epsilon; at the largest one a fifth is misclassified."""
    generator = np.random.default_rng(record.seed)
    label = np.arange(n) % classes
    angle = 2 * np.pi * label / classes
    centres = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.stack([centres / (1 + step) + generator.normal(size=(n, 2)) for step in range(3)])
    prediction = np.stack([label, label, np.where(np.arange(n) % 5 == 0, (label + 1) % classes, label)])
    figures = {"attack": "pgd_linf", "norm": "linf", "epsilons": [0, *EPSILONS], "perplexity": 30}
    return with_analysis(record, name, figures, {"points": points, "label": label, "prediction": prediction})


GAPS = {"pgd_linf": (0.2, 0.6), "fgsm": (0.1, 0.3)}


def with_hdh(record: Record, own: bool = True, attacks: Iterable[str] = tuple(GAPS)) -> Record:
    """Add GAPS over EPSILONS with a probe at twice the gap; `own`: also the estimates of the run's discriminator."""
    cells = [
        {
            "attack": attack,
            "norm": "linf",
            "epsilon": epsilon,
            "err_nat": 0.1,
            "err_adv": 0.1 + gap,
            "gap": gap,
            "raw": gap if own else None,
            "calibrated": 1.8 * gap if own else None,
            "probe": 2 * gap,
            "slack_raw": 0.0,
            "slack_calibrated": 0.0,
            "slack_probe": 0.0,
            "n_test": 100,
        }
        for attack in attacks
        for epsilon, gap in zip(EPSILONS, GAPS[attack], strict=True)
    ]
    estimate = {"r": 0.95, "low": 0.9, "high": 0.98, "cells": 4}
    correlation = {"raw": estimate if own else None, "calibrated": estimate if own else None, "probe": estimate}
    return with_analysis(record, "hdh", {"cells": cells, "correlation": correlation})
