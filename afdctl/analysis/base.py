"""What an analysis receives, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from afdctl.analysis.extraction import Features
from afdctl.data.subset import Subset
from afdctl.runs.shards import Array, Arrays
from afdctl.suites.attack_config import AttackConfig, Norm


@dataclass(frozen=True)
class AttackGrid:
    """An attack and the epsilons, without 0, at which it was run."""

    title: str
    norm: Norm
    epsilons: tuple[float, ...]


@dataclass(frozen=True)
class Analysis:
    """An analysis, and the features that it needs: of natural images, also under the grid attack, or all attacks.

    `points`: it shows a number of images. `spec`: name, code and settings of a user's.
    """

    needs: str
    compute: "Callable[[AnalysisInputs], AnalysisResult]"
    points: bool = False
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnalysisRequest:
    """Which analyses to run on the test images of `subset`; `grid` is the attack whose strength varies.

    `own` has the user's analyses by name. `attacks` are compared with the grid attack, `points` is how many images an
    embedding shows. `changed` names what differs from the suite: settings of the grid attack, and "attacks" where other
    attacks are compared.
    """

    names: Sequence[str]
    grid: AttackConfig
    attacks: Sequence[AttackConfig]
    subset: Subset
    seed: int
    points: int
    changed: tuple[str, ...] = ()
    own: Mapping[str, Analysis] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnalysisInputs:
    """The features of n test images, natural and under attack; `index` (n,) has their numbers in the test split.

    `grid` is the attack whose strength varies; `attacks` are all that are compared, `grid` first. `features_at` reads
    the features under an attack (by title) at an epsilon. `discriminator` is the run's trained D_psi, or None.
    `points` bounds the images of an embedding; `seed` decides what is random.
    """

    index: Array
    label: Array
    classes: int
    natural: Features
    grid: AttackGrid
    attacks: tuple[AttackGrid, ...]
    # read on demand: 10,000 images with 512 features are 20 MB at each epsilon of each attack
    features_at: Callable[[str, float], Features]
    discriminator: nn.Module | None
    seed: int
    points: int


@dataclass(frozen=True)
class AnalysisResult:
    """The result of an analysis: `metrics` go into the journal, `arrays` into a shard."""

    metrics: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)
