"""d_HdH between natural and adversarial features, against the gap that it bounds (Figure 3, Eq. 5)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afdctl import metrics
from afdctl.analyses.extract import Features
from afdctl.analyses.gathered import Gathered, Result
from afdctl.analyses.probe import alpha_of_probe

ESTIMATES = ("raw", "calibrated", "probe")
Z_95 = 1.959963984540054


def hdh(gathered: Gathered) -> Result:
    """Three estimates of d_HdH, the gap err_adv - err_nat, and the slack of Eq. 5, of each attack at each epsilon.

    err_adv is that of the images x' whose features are compared. `raw` and `calibrated` are None without a trained
    discriminator. The correlation is Pearson's over all cells.
    """
    cells = [
        {"attack": attack.title, "norm": attack.norm, "epsilon": epsilon}
        | compared(gathered, gathered.at(attack.title, epsilon))
        for attack in gathered.attacks
        for epsilon in attack.epsilons
    ]
    return Result({"cells": cells, "correlation": {name: correlation(cells, name) for name in ESTIMATES}})


def compared(gathered: Gathered, adversarial: Features) -> dict[str, Any]:
    """One cell's errors, estimates and slacks."""
    label = torch.from_numpy(gathered.label)
    z, z_adv = torch.from_numpy(gathered.natural.z), torch.from_numpy(adversarial.z)
    err_nat, err_adv = gathered.natural.errors(gathered.label), adversarial.errors(gathered.label)
    known = of_trained(gathered.discriminator, z, z_adv, label) if gathered.discriminator else {}
    alphas = known | {"probe": alpha_of_probe(z, z_adv, label, gathered.classes, gathered.seed)}
    estimates = {name: metrics.d_hdh(alphas[name]).item() if name in alphas else None for name in ESTIMATES}
    slacks = {f"slack_{name}": None if d is None else err_nat + d / 2 - err_adv for name, d in estimates.items()}
    errors = {"err_nat": err_nat, "err_adv": err_adv, "gap": err_adv - err_nat}
    return {**errors, **estimates, **slacks, "n_test": len(label)}


def of_trained(discriminator: nn.Module, z: Tensor, z_adv: Tensor, y: Tensor) -> dict[str, Tensor]:
    """alpha(h) of the run's own D_psi, at threshold 0 and at the best one."""
    with torch.no_grad():
        nat, adv = discriminator(z, y), discriminator(z_adv, y)
    return {"raw": metrics.alpha_h(nat, adv), "calibrated": metrics.alpha_h_calibrated(nat, adv)}


def correlation(cells: list[dict[str, Any]], estimate: str) -> dict[str, Any] | None:
    """Pearson's r of an estimate and the gap, with Fisher's 95 % interval; None where it is not defined.

    The cells share their images and their network, so the interval is narrower than that of independent trials.
    """
    pairs = np.array([(cell[estimate], cell["gap"]) for cell in cells if cell[estimate] is not None])
    if len(pairs) < 4 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    r = float(np.corrcoef(pairs.T)[0, 1])
    centre, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), Z_95 / np.sqrt(len(pairs) - 3)
    return {"r": r, "low": float(np.tanh(centre - half)), "high": float(np.tanh(centre + half)), "cells": len(pairs)}
