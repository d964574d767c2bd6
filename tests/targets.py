"""Small models to attack and to analyse, each with a run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.evaluation.target import EvaluationTarget
from afdctl.runs.run import Run


def target_of(network: nn.Module, x: Tensor, *, name: str, classes: int, digest: str, runs: Path) -> EvaluationTarget:
    """A target on images x (n, c, h, w) uint8, labelled so that the network classifies all but three correctly.

    Its run in the folder `runs` is made unless it exists.
    """
    network = network.eval().requires_grad_(False)
    with torch.no_grad():
        y = network(x / 255).argmax(1)
    y[:3] = (y[:3] + 1) % classes
    path = runs / name
    run = Run(path)
    if not path.exists():
        run = Run.create(runs, name, None, {"kind": "external"}, name=name)
        run.open_journal().close()
    return EvaluationTarget(
        name=name,
        network=network,
        split=Split(ImageTensors(x, y), "cpu"),
        classes=classes,
        digest=digest,
        data_digest="data",
        seed=0,
        run=run,
        dataset="digits",
        warnings=[],
    )
