"""D_psi: separates features of natural images (positive scores) from adversarial ones, given the label."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from afdctl.losses import hard_labels
from afdctl.registry import DISCRIMINATORS, load


class Discriminator(nn.Module):
    """Dense layers with LeakyReLU(0.2), a linear score, and a projection on the label.

    Projection: Miyato & Koyama 2018, arXiv:1802.05637. `widths` are the input sizes of the dense layers and of the
    score. `classes = None` omits the projection. `constrain` wraps every layer.
    """

    def __init__(self, widths: list[int], classes: int | None, constrain: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for inputs, outputs in pairwise(widths):
            self.body.append(constrain(nn.Linear(inputs, outputs)))
            self.body.append(nn.LeakyReLU(0.2))
        self.score = constrain(nn.Linear(widths[-1], 1))
        self.embedding = None if classes is None else constrain(nn.Embedding(classes, widths[-1]))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return scores (n,) of features z (n, m), given labels y (n,), or mixed ones (n, classes).

        Without y there is no projection, as in the published penalty.
        """
        h = self.body(z)
        score: Tensor = self.score(h).squeeze(1)
        if self.embedding is None or y is None:
            return score
        projection: Tensor = (self.embedding(hard_labels(y)) * h).sum(1)
        return score + projection


def fc1_pd(features: int, classes: int, hidden: int, constrain: Callable[[nn.Module], nn.Module]) -> Discriminator:
    """One layer with projection (Table A5)."""
    return Discriminator([features], classes, constrain)


def fc3(features: int, classes: int, hidden: int, constrain: Callable[[nn.Module], nn.Module]) -> Discriminator:
    """Three layers without the label (Table A5)."""
    return Discriminator([features, hidden, hidden], None, constrain)


def fc3_pd(features: int, classes: int, hidden: int, constrain: Callable[[nn.Module], nn.Module]) -> Discriminator:
    """Three layers with projection: the paper's discriminator (section 4.1)."""
    return Discriminator([features, hidden, hidden], classes, constrain)


def build(name: str, *, features: int, classes: int, hidden: int, spectral: bool) -> Discriminator:
    """Build a discriminator of the registry; `spectral` constrains the spectral norm of every layer to 1.

    Spectral normalisation: Miyato et al. 2018, arXiv:1802.05957.
    """
    constrain = spectral_norm if spectral else _unconstrained
    discriminator: Discriminator = load(DISCRIMINATORS, name)(features, classes, hidden, constrain)
    return discriminator


def _unconstrained(layer: nn.Module) -> nn.Module:
    return layer
