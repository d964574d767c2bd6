"""Figures that are reported: pure functions of tensors, without gradients and without waiting for the device."""

import torch
from torch import Tensor


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of rows of logits (n, classes) whose largest entry is at y (n,)."""
    return (logits.argmax(1) == y).float().mean()


def alpha_h(nat: Tensor, adv: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """alpha(h) of Eq. 6: the share of natural scores above the threshold plus the share of adversarial ones not above.

    2 is a perfect discriminator, 1 chance. At threshold 0 this is the estimate `raw`.
    """
    of_nat, of_adv = true_rates(nat, adv, threshold)
    return of_nat + of_adv


def true_rates(nat: Tensor, adv: Tensor, threshold: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """The two shares whose sum is alpha(h): of natural scores that lie above the threshold, of adversarial ones not."""
    return (nat > threshold).float().mean(), (adv <= threshold).float().mean()


def alpha_h_calibrated(nat: Tensor, adv: Tensor) -> Tensor:
    """alpha(h) at the threshold that is best for the samples at even places, measured at the odd places.

    A Wasserstein critic is trained up to a constant, so its sign means nothing; the two halves keep the choice of the
    threshold from flattering the figure. NaN where a half is empty.
    """
    return alpha_h(nat[1::2], adv[1::2], best_threshold(nat[::2], adv[::2]))


def best_threshold(nat: Tensor, adv: Tensor) -> Tensor:
    """The score (0-dim) at which `alpha_h` of these samples is largest; -inf where no score does better than chance."""
    nat, adv = nat.sort().values, adv.sort().values
    candidates = torch.cat([nat.new_full((1,), -torch.inf), nat, adv])
    natural_below = torch.searchsorted(nat, candidates, right=True) / len(nat)
    adversarial_below = torch.searchsorted(adv, candidates, right=True) / len(adv)
    best = (adversarial_below - natural_below).argmax()
    # candidates[best] would wait for the device to say which place that is
    return candidates.index_select(0, best.view(1)).squeeze(0)


def d_hdh(alpha: Tensor) -> Tensor:
    """The estimate of d_HdH by Eq. 6: 2 |alpha(h) - 1|, at most 2."""
    return (2 * (alpha - 1).abs()).clamp(max=2)


def fraction_unchanged(x: Tensor, x_adv: Tensor) -> Tensor:
    """Share of images x' (n, ...) that are equal to x."""
    return (x == x_adv).flatten(1).all(1).float().mean()
