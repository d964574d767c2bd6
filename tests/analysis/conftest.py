"""Features made by hand, and a small network to analyse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from afdctl.analysis.base import AnalysisInputs, AttackGrid
from afdctl.analysis.features import Features
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.evaluation.target import EvaluationTarget
from afdctl.models.feature_classifier import build
from afdctl.runs.run import Run

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
        network = network.eval().requires_grad_(False)
        x = torch.randint(256, (N, 1, 8, 8), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
        with torch.no_grad():
            y = network(x / 255).argmax(1)
        y[:3] = (y[:3] + 1) % classes
        path = tmp_path / "runs" / name
        run = Run(path) if path.exists() else Run.create(path.parent, name, None, {"kind": "external"}, name=name)
        run.open_journal().close()
        split = Split(ImageTensors(x, y), "cpu")
        return EvaluationTarget(
            name=name,
            network=network,
            split=split,
            classes=classes,
            digest=digest or f"digest of {name}",
            data_digest="data",
            seed=0,
            run=run,
            dataset="digits",
            warnings=[],
        )

    return make
