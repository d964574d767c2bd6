"""Small subjects to attack."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.evaluation.target import EvaluationTarget
from afdctl.runs.run import Run

N = 40
MakeSubject = Callable[..., EvaluationTarget]


@pytest.fixture
def make_subject(tmp_path: Path) -> MakeSubject:
    """A linear model of `classes` classes on random images that it mostly classifies correctly, with its own run."""

    def make(
        name: str = "model", *, seed: int = 0, classes: int = 4, network: nn.Module | None = None
    ) -> EvaluationTarget:
        generator = torch.Generator().manual_seed(7)
        x = torch.randint(256, (N, 1, 4, 4), generator=generator, dtype=torch.uint8)
        torch.manual_seed(seed)
        network = (network or nn.Sequential(nn.Flatten(), nn.Linear(16, classes))).eval().requires_grad_(False)
        with torch.no_grad():
            y = network(x / 255).argmax(1)
        y[:3] = (y[:3] + 1) % classes
        run = Run.create(tmp_path / "runs", name, None, {"kind": "external"}, name=name)
        with run.open_journal():
            pass
        split = Split(ImageTensors(x, y), "cpu")
        return EvaluationTarget(
            name=name,
            network=network,
            split=split,
            classes=classes,
            digest=f"digest of {name}",
            data_digest="data",
            seed=0,
            run=run,
            dataset="digits",
            warnings=[],
        )

    return make
