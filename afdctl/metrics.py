"""Metrics as pure functions of tensors, without gradients and without waiting for the device."""

import torch
from torch import Tensor

from afdctl.losses import hard_labels


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the share of logits (n, classes) whose largest entry is at y (n,), or at that of mixed y (n, classes)."""
    return (logits.argmax(1) == hard_labels(y)).float().mean()


def alpha_h(nat: Tensor, adv: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """Eq. 6, alpha(h): the share of natural scores above the threshold plus that of adversarial scores not above it.

    nat, adv: D_psi's scores (n,). 2 is a perfect discriminator, 1 is chance. At threshold 0 it is the estimate `raw`.
    """
    nat_rate, adv_rate = true_rates(nat, adv, threshold)
    return nat_rate + adv_rate


def true_rates(nat: Tensor, adv: Tensor, threshold: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the two shares of alpha(h): natural scores above the threshold, and adversarial scores not above it."""
    return (nat > threshold).float().mean(), (adv <= threshold).float().mean()


def alpha_h_calibrated(nat: Tensor, adv: Tensor) -> Tensor:
    """Return alpha(h) of the samples at odd positions, at the threshold that is best for those at even positions.

    The loss of a Wasserstein critic determines it up to a constant only, so the sign of its scores means nothing. With
    two halves the choice of the threshold does not bias the estimate. NaN where a half is empty.
    """
    return alpha_h(nat[1::2], adv[1::2], best_threshold(nat[::2], adv[::2]))


def best_threshold(nat: Tensor, adv: Tensor) -> Tensor:
    """Return the score (0-dim) at which `alpha_h` of the samples is largest; -inf where none is better than chance."""
    nat, adv = nat.sort().values, adv.sort().values
    candidates = torch.cat([nat.new_full((1,), -torch.inf), nat, adv])
    natural_below = torch.searchsorted(nat, candidates, right=True) / len(nat)
    adversarial_below = torch.searchsorted(adv, candidates, right=True) / len(adv)
    best = (adversarial_below - natural_below).argmax()
    # candidates[best] would wait for the device
    return candidates.index_select(0, best.view(1)).squeeze(0)


def d_hdh(alpha: Tensor) -> Tensor:
    """Eq. 6, the estimate of d_HdH: 2 |alpha(h) - 1|, at most 2."""
    return (2 * (alpha - 1).abs()).clamp(max=2)


def fraction_unchanged(x: Tensor, x_adv: Tensor) -> Tensor:
    """Return the share of images x' (n, ...) that equal x."""
    return (x == x_adv).flatten(1).all(1).float().mean()
