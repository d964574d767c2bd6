"""Test the defenses without a discriminator: weights and metrics after one step, from the definitions."""

import pytest
from torch import Tensor
from torch.nn.functional import one_hot

from afdctl.defenses.base import Defense
from tests.defenses.plain import (
    UNCHANGED,
    accuracy,
    apply,
    assert_same_figures,
    assert_same_weights,
    plain_step,
    slope,
    weights,
    x_adv,
)
from tests.defenses.test_contract import make, x, y

TABLES = {
    "natural": {},
    "adversarial": {},
    "trades": {"beta": 2.5},
    "mart": {"beta": 2.5},
    "score": {"beta": 2.5, "clip": 0.4},
    "alp": {"weight": 0.5},
    "matching": {"weight": 0.5},
}
FIGURES = {
    "natural": "L_C acc_nat grad_C",
    "adversarial": "L_C acc_adv fraction_unchanged grad_C",
    "trades": "L_C kl acc_nat acc_adv fraction_unchanged grad_C",
    "mart": "L_C boost kl acc_nat acc_adv fraction_unchanged grad_C",
    "score": "L_C distance acc_nat acc_adv fraction_unchanged grad_C",
    "alp": "L_C pairing acc_nat acc_adv fraction_unchanged grad_C",
    "matching": "L_C sensitivity acc_nat fraction_unchanged grad_C",
}


def confident(name: str) -> Defense:
    """A defense whose network is far from uniform, where the two directions of the KL divergence differ."""
    defense = make(name, **TABLES[name])
    defense.network.C_phi.weight.data *= 5
    defense.adversary = lambda x, y: x_adv
    return defense


def definitions(name: str, defense: Defense) -> tuple[Tensor, dict[str, Tensor | float]]:
    """Return the loss and the metrics."""
    z, z_adv = defense.network.F_theta(x), defense.network.F_theta(x_adv)
    logits, logits_adv = defense.network.C_phi(z), defense.network.C_phi(z_adv)
    p, p_adv = logits.softmax(1), logits_adv.softmax(1)
    clean, attacked = (-q[range(len(y)), y].log().mean() for q in (p, p_adv))
    kl, distance = (p * (p / p_adv).log()).sum(1).mean(), (z - z_adv).square().sum(1).clamp_min(1e-24).sqrt().mean()
    true = one_hot(y, 3)
    boost = -(1 - (p_adv - true).amax(1)).log().mean()
    weighted = ((p * (p / p_adv).log()).sum(1) * (1 - (p * true).sum(1))).mean()
    error, squared = (p - true).square().sum(1), (p - p_adv).square().sum(1)
    pairing = (logits - logits_adv).square().mean()
    losses = {
        "natural": clean,
        "adversarial": attacked,
        "trades": clean + 2.5 * kl,
        "mart": attacked + boost + 2.5 * weighted,
        # 0.4 on the wrong classes: 0.6, 0.2, 0.2
        "score": (error + 2.5 * squared - (0.4**2 + 2 * 0.2**2)).clamp_min(0).mean(),
        "alp": (clean + attacked) / 2 + 0.5 * pairing,
        "matching": clean + 0.5 * distance,
    }
    on_x_adv = {"adversarial": attacked, "mart": attacked, "alp": (clean + attacked) / 2, "score": error.mean()}
    return losses[name], {
        "L_C": on_x_adv.get(name, clean),
        "kl": weighted if name == "mart" else kl,
        "boost": boost,
        "distance": squared.mean(),
        "pairing": pairing,
        "sensitivity": distance,
        "acc_nat": accuracy(logits),
        "acc_adv": accuracy(logits_adv),
        "fraction_unchanged": UNCHANGED,
        "grad_C": slope(losses[name], weights(defense.network)),
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_step_is_the_definition(name: str):
    defense, twin = confident(name), confident(name)
    report = defense.step(x, y)
    loss, metrics = definitions(name, twin)
    assert_same_figures(report, {figure: metrics[figure] for figure in FIGURES[name].split()})
    theta_phi = weights(twin.network)
    apply(theta_phi, plain_step(twin, loss, theta_phi, "C", decay=1e-4))
    assert_same_weights(weights(defense.network), theta_phi)
