"""Test the defenses without a discriminator: weights and metrics after one step, from the definitions."""

import pytest
from torch import Tensor

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

TABLES = {"natural": {}, "adversarial": {}, "trades": {"beta": 2.5}, "matching": {"weight": 0.5}}
FIGURES = {
    "natural": "L_C acc_nat grad_C",
    "adversarial": "L_C acc_adv fraction_unchanged grad_C",
    "trades": "L_C kl acc_nat acc_adv fraction_unchanged grad_C",
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
    losses = {"natural": clean, "adversarial": attacked, "trades": clean + 2.5 * kl, "matching": clean + 0.5 * distance}
    return losses[name], {
        "L_C": attacked if name == "adversarial" else clean,
        "kl": kl,
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
