"""Test AFD: which loss changes which weights, and both orders of updates against plain formulas."""

import pytest
import torch
from torch import Tensor

from afdctl import metrics
from afdctl.defenses.afd import AFD
from afdctl.losses import GAMES, L_C, gradient_penalty
from tests.defenses.plain import (
    FROZEN,
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
from tests.defenses.test_contract import make, moved, snapshot, x, y

ORDERS = "simultaneous", "sequential"
every_game = pytest.mark.parametrize("game", GAMES)
every_classify = pytest.mark.parametrize("classify", ["clean", "both", "adversarial"])


def afd(**table: object) -> AFD:
    defense = make("afd", hidden=8, **table)
    assert isinstance(defense, AFD)
    defense.D_psi.score.bias.data -= 0.45  # now some scores are positive and some negative
    defense.adversary = lambda x, y: x_adv
    return defense


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("loss", "moves"), [("C", {"F_theta", "C_phi"}), ("D", {"D_psi"}), ("F", {"F_theta"})])
def test_each_loss_moves_its_players_only(order: str, loss: str, moves: set[str]):
    defense = afd(update=order, **FROZEN | {f"lr_{loss}": 0.1})
    players = {name: getattr(defense, name) for name in ("F_theta", "C_phi", "D_psi")}
    before = {name: snapshot(module) for name, module in players.items()}
    defense.step(x, y)
    assert {name for name, module in players.items() if moved(before[name], module)} == moves


def classification(twin: AFD, z: Tensor, z_adv: Tensor) -> Tensor:
    """Eq. 7 on x, on x', or its mean over both."""
    clean, adversarial = L_C(twin.C_phi(z), y), L_C(twin.C_phi(z_adv), y)
    return {"clean": clean, "both": (clean + adversarial) / 2, "adversarial": adversarial}[twin.table.classify]


def discrimination(nat: Tensor, adv: Tensor) -> dict[str, Tensor | float]:
    """Metrics of D_psi's scores: positive is right for z, not positive for z'."""
    hits = [score > 0 for score in nat.tolist()] + [score <= 0 for score in adv.tolist()]
    calibrated = metrics.alpha_h_calibrated(nat, adv)
    raw, share = 2 * sum(hits) / len(hits), sum(hits) / len(hits)
    return {
        "d_accuracy": share,
        "d_acc_nat": sum(score > 0 for score in nat.tolist()) / len(nat),
        "d_acc_adv": sum(score <= 0 for score in adv.tolist()) / len(adv),
        "alpha_h": raw,
        "alpha_h_calibrated": calibrated,
        "d_hdh": 2 * abs(raw - 1),
        "d_hdh_calibrated": 2 * abs(calibrated - 1),
        "fraction_unchanged": UNCHANGED,
    }


@pytest.mark.parametrize("statistics", ["separate", "joint"])
@every_classify
@every_game
def test_simultaneous_is_the_box_of_algorithm_1(game: str, classify: str, statistics: str):
    """Three losses at the same weights, then theta moves along both of its gradients."""
    defense, twin = (afd(game=game, classify=classify, batch_statistics=statistics) for _ in range(2))
    report = defense.step(x, y)

    if statistics == "joint":
        z, z_adv = twin.F_theta(torch.cat([x, x_adv])).chunk(2)
    else:
        z, z_adv = twin.F_theta(x), twin.F_theta(x_adv)
    nat, adv = twin.D_psi(torch.cat([z, z_adv]), y.repeat(2)).chunk(2)
    loss_C, loss_D, loss_F = classification(twin, z, z_adv), GAMES[game].L_D(nat, adv), GAMES[game].L_F(adv)
    theta, phi, psi = (weights(module) for module in (twin.F_theta, twin.C_phi, twin.D_psi))
    figures = {
        "L_C": loss_C,
        "L_D": loss_D,
        "L_F": loss_F,
        "acc_nat": accuracy(twin.C_phi(z)),
        "acc_adv": accuracy(twin.C_phi(z_adv)),
    }
    slopes = {
        "grad_C": slope(loss_C, theta + phi),
        "grad_D": slope(loss_D, psi),
        "grad_F": slope(loss_F, theta),
    }
    assert_same_figures(report, figures | slopes | discrimination(nat, adv))
    along_C = plain_step(twin, loss_C, theta + phi, "C", decay=1e-4)
    along_D, along_F = plain_step(twin, loss_D, psi, "D"), plain_step(twin, loss_F, theta, "F")
    for parameters, steps in ((theta + phi, along_C), (psi, along_D), (theta, along_F)):
        apply(parameters, steps)
    assert_same_weights(weights(defense.network, defense.D_psi), weights(twin.network, twin.D_psi))


@every_classify
@every_game
def test_sequential_sees_each_update_in_the_next_loss(game: str, classify: str):
    defense, twin = (afd(game=game, classify=classify, update="sequential") for _ in range(2))
    report = defense.step(x, y)

    theta, phi, psi = (weights(module) for module in (twin.F_theta, twin.C_phi, twin.D_psi))
    z, z_adv = twin.F_theta(x), twin.F_theta(x_adv)
    figures = {"L_C": classification(twin, z, z_adv), "acc_nat": accuracy(twin.C_phi(z))}
    figures["grad_C"] = slope(figures["L_C"], theta + phi)
    apply(theta + phi, plain_step(twin, figures["L_C"], theta + phi, "C", decay=1e-4))
    nat, adv = twin.D_psi(twin.F_theta(x), y), twin.D_psi(twin.F_theta(x_adv), y)
    figures["acc_adv"] = accuracy(twin.network(x_adv))
    figures["L_D"] = GAMES[game].L_D(nat, adv)
    figures["grad_D"] = slope(figures["L_D"], psi)
    apply(psi, plain_step(twin, figures["L_D"], psi, "D"))
    figures["L_F"] = GAMES[game].L_F(twin.D_psi(twin.F_theta(x_adv), y))
    figures["grad_F"] = slope(figures["L_F"], theta)
    apply(theta, plain_step(twin, figures["L_F"], theta, "F"))
    assert_same_figures(report, figures | discrimination(nat, adv))
    assert_same_weights(weights(defense.network, defense.D_psi), weights(twin.network, twin.D_psi))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("conditional", [False, True])
def test_penalty_is_weighted_and_part_of_L_D_alone(order: str, conditional: bool):
    plain, penalised = (
        afd(update=order, gp_weight=weight, gp_conditional=conditional, **FROZEN).step(x, y) for weight in (0.0, 3.0)
    )
    reference = afd(**FROZEN)
    with torch.no_grad():
        z, z_adv = reference.F_theta(x), reference.F_theta(x_adv)
        for _ in range(1 if order == "simultaneous" else 2):  # as many power iterations as forward passes
            reference.D_psi(z, y)
    share = torch.rand((len(x), 1), generator=torch.Generator().manual_seed(3))
    labels = y if conditional else None
    penalty = gradient_penalty(lambda mixed: reference.D_psi(mixed, labels), z, z_adv, share)
    assert (penalised["L_D"] - plain["L_D"]).item() == pytest.approx(3 * penalty.item(), rel=1e-3)
    assert penalised["L_C"].item() == plain["L_C"].item()
    if order == "simultaneous":
        assert penalised["L_F"].item() == plain["L_F"].item()
    else:  # the penalty's forward pass is one more power iteration before L_F
        with torch.no_grad():
            expected = GAMES["wgan"].L_F(reference.D_psi(z_adv, y))
        assert penalised["L_F"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_simultaneous_needs_two_encoder_passes_and_sequential_four():
    for order, passes in (("simultaneous", 2), ("sequential", 4)):
        defense, calls = afd(update=order), []
        defense.F_theta.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        defense.step(x, y)
        assert len(calls) == passes
