"""Estimate d_HdH between natural and adversarial features, against the gap that it bounds (Figure 3, Eq. 5)."""

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from afdctl import metrics, recipe
from afdctl.analysis.base import AnalysisInputs, AnalysisResult
from afdctl.analysis.extraction import Features
from afdctl.defenses.base import can_fuse
from afdctl.evaluation.target import EvaluationTarget
from afdctl.losses import GAMES
from afdctl.models.discriminator import build as build_discriminator
from afdctl.models.discriminator import fc3_pd
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe.defenses import AFD
from afdctl.runs import checkpoints
from afdctl.runs.curves import Z_95
from afdctl.runs.run import Run

ESTIMATES: Final = ("raw", "calibrated", "probe")
# the probe's width, and its training: Adam with a cosine schedule
PROBE_UNITS: Final = 64
PROBE_STEPS: Final = 400
PROBE_BATCH: Final = 128
PROBE_LR: Final = 2e-3


def hdh(inputs: AnalysisInputs) -> AnalysisResult:
    """Compute three estimates of d_HdH, the gap err_adv - err_nat, and the slack of Eq. 5, per attack and epsilon.

    err_adv is measured on the same images x' whose features are compared. `raw` and `calibrated` are None without a
    trained discriminator. The correlation is Pearson's over all cells.
    """
    cells = [
        {"attack": attack.title, "norm": attack.norm, "epsilon": epsilon}
        | _compare(inputs, inputs.features_at(attack.title, epsilon))
        for attack in inputs.attacks
        for epsilon in attack.epsilons
    ]
    return AnalysisResult({"cells": cells, "correlation": {name: _correlate(cells, name) for name in ESTIMATES}})


def _compare(inputs: AnalysisInputs, adversarial: Features) -> dict[str, Any]:
    """Compute the errors, estimates and slacks of one cell."""
    label = torch.from_numpy(inputs.label)
    z, z_adv = torch.from_numpy(inputs.natural.z), torch.from_numpy(adversarial.z)
    err_nat, err_adv = inputs.natural.error_rate(inputs.label), adversarial.error_rate(inputs.label)
    alphas = _trained_alpha_h(inputs.discriminator, z, z_adv, label) if inputs.discriminator else {}
    alphas["probe"] = probe_alpha_h(z, z_adv, label, classes=inputs.classes, seed=inputs.seed)
    estimates = {name: metrics.d_hdh(alphas[name]).item() if name in alphas else None for name in ESTIMATES}
    slacks = {f"slack_{name}": None if d is None else err_nat + d / 2 - err_adv for name, d in estimates.items()}
    errors = {"err_nat": err_nat, "err_adv": err_adv, "gap": err_adv - err_nat}
    return {**errors, **estimates, **slacks, "n_test": len(label)}


def _trained_alpha_h(discriminator: nn.Module, z: Tensor, z_adv: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Compute alpha(h) of the run's trained D_psi, at threshold 0 and at the best one."""
    with torch.no_grad():
        nat, adv = discriminator(z, y), discriminator(z_adv, y)
    return {"raw": metrics.alpha_h(nat, adv), "calibrated": metrics.alpha_h_calibrated(nat, adv)}


def _correlate(cells: list[dict[str, Any]], estimate: str) -> dict[str, Any] | None:
    """Compute Pearson's r of an estimate and the gap, with Fisher's 95 % interval; None where it is not defined.

    The cells share their images and their network, so the interval is narrower than that of independent trials.
    """
    pairs = np.array([(cell[estimate], cell["gap"]) for cell in cells if cell[estimate] is not None])
    # the interval divides by the root of n - 3, and r is not defined for constant values
    if len(pairs) < 4 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    r = float(np.corrcoef(pairs.T)[0, 1])
    # arctanh(1) is infinite
    centre, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), Z_95 / np.sqrt(len(pairs) - 3)
    return {"r": r, "low": float(np.tanh(centre - half)), "high": float(np.tanh(centre + half)), "cells": len(pairs)}


def probe_alpha_h(z: Tensor, z_adv: Tensor, y: Tensor, *, classes: int, seed: int) -> Tensor:
    """Compute alpha(h) of Eq. 6 of newly trained discriminators, on samples that they were not trained on.

    Of z, z' (n, m) and y (n,), the samples at even indices train one probe, which is measured at the odd ones, and
    vice versa; the result is their mean. The network is the paper's discriminator without spectral norm, which would
    limit it, trained by L_D of Eq. 9.
    """
    # alternate samples: the images of a folder are sorted by class, and each half needs all classes
    even = torch.arange(len(y), device=y.device) % 2 == 0
    alphas = []
    for training in (even, ~even):
        probe = _train_probe(z[training], z_adv[training], y[training], classes=classes, seed=seed)
        with torch.no_grad():
            nat, adv = probe(z[~training], y[~training]), probe(z_adv[~training], y[~training])
        alphas.append(metrics.alpha_h(nat, adv))
    return torch.stack(alphas).mean()


class StandardisedProbe(nn.Module):
    """A discriminator that receives features scaled to mean 0 and standard deviation 1."""

    def __init__(self, body: nn.Module, z: Tensor) -> None:
        super().__init__()
        self.body, self.mean = body, z.mean(0)
        # a unit that is never active has deviation 0
        self.std = z.std(0).clamp(min=1e-6)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.body((z - self.mean) / self.std, y)
        return scores


def _train_probe(z: Tensor, z_adv: Tensor, y: Tensor, *, classes: int, seed: int) -> nn.Module:
    """Train a probe on batches of pairs z, z'."""
    # built on the CPU, so that the probe is the same on every device, and in a fork, so that the caller's random
    # numbers do not change
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = fc3_pd(z.shape[1], classes, PROBE_UNITS, lambda layer: layer).to(z.device)
    probe = StandardisedProbe(body, torch.cat([z, z_adv]))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(body.parameters(), PROBE_LR, weight_decay=1e-4, fused=can_fuse(body.parameters()))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PROBE_STEPS)
    for _ in range(PROBE_STEPS):
        rows = torch.randint(len(y), (min(PROBE_BATCH, len(y)),), generator=generator).to(y.device)
        nat, adv = probe(torch.cat([z[rows], z_adv[rows]]), y[rows].repeat(2)).chunk(2)
        loss = GAMES["dcgan"].L_D(nat, adv)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return probe.eval()


def load_discriminator(run: Run, which: str, target: EvaluationTarget) -> nn.Module | None:
    """Load D_psi of a run's checkpoint, frozen; None for a run without one, such as NT, AT and custom models."""
    if run.kind == "external" or not isinstance(target.network, FeatureClassifier):
        return None
    defense = recipe.loads(run.recipe_text, run.path).defense
    checkpoint = checkpoints.load(run, which)
    with checkpoints.fitting(checkpoint):
        state = checkpoint.state["defense"].get("D_psi")
        if not isinstance(defense, AFD) or state is None:
            return None
        D_psi = build_discriminator(
            defense.discriminator,
            features=target.network.features,
            classes=target.classes,
            hidden=defense.hidden,
            spectral=defense.spectral_norm,
        )
        D_psi.load_state_dict(state)
    return D_psi.eval().requires_grad_(False)
