"""What an analysis is given, and what it gives back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from afdctl.analysis.features import Features
from afdctl.runs.shards import Array, Arrays
from afdctl.suites.attack_config import Norm


@dataclass(frozen=True)
class AttackGrid:
    """An attack and the epsilons, without 0, at which it was run."""

    title: str
    norm: Norm
    epsilons: tuple[float, ...]


@dataclass(frozen=True)
class AnalysisInputs:
    """The features of a test split's first n images, natural and under attack.

    `grid` is the attack whose strength the analyses vary, `attacks` are all that are compared, `grid` first; `at` reads
    the features of one. `discriminator` is the D_psi that the run trained, or None. `points` bounds the images
    of an embedding, `seed` decides what is random.
    """

    label: Array
    classes: int
    natural: Features
    grid: AttackGrid
    attacks: tuple[AttackGrid, ...]
    at: Callable[[str, float], Features]
    discriminator: nn.Module | None
    seed: int
    points: int


@dataclass(frozen=True)
class AnalysisResult:
    """`figures` go into the journal, `arrays` into a shard."""

    figures: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)


def median_and_std(of_images: Array) -> dict[str, list[float]]:
    """Median and standard deviation of each row (e, n), without what is no number; NaN where nothing is one."""
    known = [row[np.isfinite(row)] for row in of_images]
    return {
        "median": [float(np.median(row)) if len(row) else math.nan for row in known],
        "std": [float(row.std()) if len(row) else math.nan for row in known],
    }
