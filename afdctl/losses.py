"""The losses of AFD (arXiv:2006.04621) and of the methods it is compared with, as pure functions of tensors.

Losses are means over the batch unless they say otherwise. D_psi's scores are positive for natural images and negative
for adversarial ones. Only this module and `metrics` depend on that convention.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, relu, softplus


def L_C(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Eq. 7. Cross-entropy of logits (n, classes) with labels y (n,), or with probabilities y (n, classes).

    `smoothing` spreads that share of each label evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """
    return cross_entropy(logits, y, label_smoothing=smoothing)


def hard_labels(y: Tensor) -> Tensor:
    """Return y (n,), or of the mixed labels (n, classes) of CutMix the class with the larger share."""
    return y if y.ndim == 1 else y.argmax(1)


class AdversarialLoss(NamedTuple):
    """The losses of the two players of a game, as functions of D_psi's scores (n,).

    L_D(nat, adv): the discriminator's, of the scores of z and z'. L_F(adv): the encoder's, which lowers it by making
    features look natural; L_F(-nat) makes natural features look adversarial.
    """

    L_D: Callable[[Tensor, Tensor], Tensor]
    L_F: Callable[[Tensor], Tensor]


# softplus(-s) is -log sigmoid(s) without its overflow
def _dcgan_D(nat: Tensor, adv: Tensor) -> Tensor:
    """Eq. 9."""
    return softplus(-nat).mean() + softplus(adv).mean()


def _dcgan_F(adv: Tensor) -> Tensor:
    """Eq. 10."""
    return softplus(-adv).mean()


def _wgan_D(nat: Tensor, adv: Tensor) -> Tensor:
    """Eq. 11."""
    return adv.mean() - nat.mean()


def _wgan_F(adv: Tensor) -> Tensor:
    """Eq. 12, with x'_i as in the published code, where the paper prints x_i."""
    return -adv.mean()


def _hinge_D(nat: Tensor, adv: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Miyato et al. 2018, arXiv:1802.05957, Eq. 16)."""
    return relu(1 - nat).mean() + relu(1 + adv).mean()


GAMES: Final[Mapping[str, AdversarialLoss]] = {
    "dcgan": AdversarialLoss(_dcgan_D, _dcgan_F),
    "wgan": AdversarialLoss(_wgan_D, _wgan_F),
    "hinge": AdversarialLoss(_hinge_D, _wgan_F),
}


def gradient_penalty(D_psi: Callable[[Tensor], Tensor], z: Tensor, z_adv: Tensor, share: Tensor) -> Tensor:
    """Mean of (||grad D(z_mix)|| - 1)^2 at z_mix = share z + (1 - share) z' (Gulrajani et al. 2017, arXiv:1704.00028).

    z, z_adv: features (n, m); share: (n, 1) in [0, 1]. The result has a gradient in D_psi's weights.
    """
    # the penalty is part of L_D, which moves psi only
    z_mix = (share * z + (1 - share) * z_adv).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D_psi(z_mix).sum(), z_mix, create_graph=True)
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    return (norm - 1).square().mean()


def kl_divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p(x) || p(x')) of each sample (n,) in nats, the regulariser of TRADES (arXiv:1901.08573)."""
    log_p = log_softmax(logits, 1)
    return (log_p.exp() * (log_p - log_softmax(logits_adv, 1))).sum(1)


def sensitivity(z: Tensor, z_adv: Tensor) -> Tensor:
    """Se of section 4.6: the mean distance ||F(x) - F(x')||_2 of features (n, m)."""
    distances: Tensor = torch.linalg.vector_norm(z - z_adv, dim=1)
    return distances.mean()
