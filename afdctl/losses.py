"""The losses of AFD (arXiv:2006.04621) and of the methods it is compared with, as pure functions of tensors.

Losses are means over the batch unless they say otherwise. D_psi's scores are positive for natural images and negative
for adversarial ones. Only this module and `metrics` depend on that convention.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, relu, softmax, softplus


def L_C(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Eq. 7. Cross-entropy of logits (n, classes) with labels y (n,), or with probabilities y (n, classes).

    `smoothing` spreads that share of each label evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
    """
    return cross_entropy(logits, y, label_smoothing=smoothing)


def hard_labels(y: Tensor) -> Tensor:
    """Return y (n,), or of the mixed labels (n, classes) of CutMix the class with the larger share."""
    return y if y.ndim == 1 else y.argmax(1)


def probabilities(y: Tensor, classes: int) -> Tensor:
    """Return labels y (n,) as probabilities (n, classes), which mixed labels are already."""
    # torch's one_hot would wait for the device, to check the labels
    return y if y.ndim > 1 else torch.zeros(len(y), classes, device=y.device).scatter(1, y[:, None], 1.0)


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


def boosting_term(logits: Tensor, y: Tensor) -> Tensor:
    """-log(1 - p_k(x')) of the most likely wrong class k, the term that MART adds to the cross-entropy.

    Wang et al. 2020, ICLR, openreview.net/forum?id=rklOg6EFwS, Eq. 8. Of logits (n, classes) with labels y.
    """
    log_p = log_softmax(logits, 1)
    k = log_p.scatter(1, hard_labels(y)[:, None], -torch.inf).argmax(1, keepdim=True)
    # 1 - p is the sum of the others: the difference would be 0, and its logarithm infinite, at a confident mistake
    return -log_p.scatter(1, k, -torch.inf).logsumexp(1).mean()


def weighted_kl(logits: Tensor, logits_adv: Tensor, y: Tensor) -> Tensor:
    """Mean of KL(p(x) || p(x')) (1 - p_y(x)), which counts uncertain images more (MART, Eq. 11)."""
    p_y = softmax(logits, 1).gather(1, hard_labels(y)[:, None])[:, 0]
    return (kl_divergence(logits, logits_adv) * (1 - p_y)).mean()


def squared_error(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """||p(x) - y||^2 of each sample (n,), the loss of SCORE (arXiv:2202.10103); arguments as of `L_C`."""
    classes = logits.shape[1]
    target = (1 - smoothing) * probabilities(y, classes) + smoothing / classes
    return (softmax(logits, 1) - target).square().sum(1)


def squared_distance(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """||p(x) - p(x')||^2 of each sample (n,), the regulariser of SCORE (arXiv:2202.10103)."""
    return (softmax(logits, 1) - softmax(logits_adv, 1)).square().sum(1)


def logit_pairing(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """Mean squared difference of the logits (n, classes) of x and x' (ALP: Kannan et al. 2018, arXiv:1803.06373)."""
    return (logits - logits_adv).square().mean()


def with_margin(logits: Tensor, y: Tensor, margin: float) -> Tensor:
    """Lower the logit of the label by `margin`, so that a loss asks for more than the right order of classes.

    HE (Pang et al. 2020, arXiv:2002.08619, Eq. 7): logits are s cos(angle) and `margin` is s m.
    """
    return logits - margin * probabilities(y, logits.shape[1]) if margin else logits


def sensitivity(z: Tensor, z_adv: Tensor) -> Tensor:
    """Se of section 4.6: the mean distance ||F(x) - F(x')||_2 of features (n, m)."""
    distances: Tensor = torch.linalg.vector_norm(z - z_adv, dim=1)
    return distances.mean()
