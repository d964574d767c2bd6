"""Features made by hand, and a small network to analyse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from afdctl.analysis.base import AnalysisInputs, AttackGrid
from afdctl.analysis.extraction import Features
from afdctl.evaluation.target import EvaluationTarget
from afdctl.models.feature_classifier import build
from tests.targets import target_of

N, CLASSES = 40, 4
MakeSubject = Callable[..., EvaluationTarget]


def features(z: Any, logits: Any = None, length: Any = None) -> Features:
    """Of lists; by default the logits are right for class 0 and the length is that of z."""
    z = np.asarray(z, np.float32)
    logits = np.tile([1.0, 0.0], (len(z), 1)) if logits is None else logits
    length = np.linalg.norm(z, axis=1) if length is None else length
    return Features(z, np.asarray(length, np.float32), np.asarray(logits, np.float32))


def gathered(natural: Features, adversarial: dict[float, Features], **more: Any) -> AnalysisInputs:
    """Of one attack, `a`."""
    grid = AttackGrid("a", "linf", tuple(adversarial))
    facts: dict[str, Any] = {
        "index": np.arange(len(natural.z)),
        "label": np.zeros(len(natural.z), np.int64),
        "classes": natural.logits.shape[1],
        "natural": natural,
        "grid": grid,
        "attacks": (grid,),
        "features_at": lambda title, epsilon: adversarial[epsilon],
        "discriminator": None,
        "seed": 0,
        "points": 1000,
    }
    return AnalysisInputs(**facts | more)


@pytest.fixture
def make_subject(tmp_path: Path) -> MakeSubject:
    """A narrow LeNet on random images that it mostly classifies correctly, with its own run."""

    def make(name: str = "model", *, classes: int = CLASSES, digest: str | None = None) -> EvaluationTarget:
        torch.manual_seed(0)
        network = build("lenet", width=4, channels=1, image_size=8, classes=classes)
        x = torch.randint(256, (N, 1, 8, 8), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
        digest = digest or f"digest of {name}"
        return target_of(network, x, name=name, classes=classes, digest=digest, runs=tmp_path / "runs")

    return make
