"""Small subjects to attack."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from afdctl.evaluation.target import EvaluationTarget
from tests.targets import target_of

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
        network = network or nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
        digest = f"digest of {name}"
        return target_of(network, x, name=name, classes=classes, digest=digest, runs=tmp_path / "runs")

    return make
