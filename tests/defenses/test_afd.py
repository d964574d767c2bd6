"""The game: who moves whom, and both orders of the updates against a plain reading of the paper."""

import pytest
import torch
from torch import Tensor

from afdctl.defenses.afd import AFD
from afdctl.losses import GAMES, L_C, gradient_penalty
from tests.defenses.test_contract import make, moved, snapshot, x, y

ORDERS = "simultaneous", "sequential"
FROZEN = {"lr_C": 0.0, "lr_D": 0.0, "lr_F": 0.0, "weight_decay_C": 0.0}
x_adv = (x + 0.1 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) - 1)).clamp(0, 1)


def afd(**table: object) -> AFD:
    defense = make("afd", hidden=8, **table)
    assert isinstance(defense, AFD)
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


def plain_step(defense: AFD, loss: Tensor, parameters: list[Tensor], which: str, decay: float = 0.0) -> list[Tensor]:
    """What a first step of SGD does: theta - lr (gradient + decay theta)."""
    lr = getattr(defense.table, f"lr_{which}")
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    return [-lr * (g + decay * p) for g, p in zip(gradients, parameters, strict=True)]


@pytest.mark.parametrize("classify", ["clean", "both"])
@pytest.mark.parametrize("game", GAMES)
def test_simultaneous_is_the_box_of_algorithm_1(game: str, classify: str):
    """Three losses at the same weights, then theta moves along both of its gradients."""
    defense, twin = (afd(game=game, classify=classify) for _ in range(2))
    defense.step(x, y)

    z, z_adv = twin.F_theta(x), twin.F_theta(x_adv)
    nat, adv = twin.D_psi(torch.cat([z, z_adv]), y.repeat(2)).chunk(2)
    loss_C = L_C(twin.C_phi(z), y)
    if classify == "both":
        loss_C = (loss_C + L_C(twin.C_phi(z_adv), y)) / 2
    theta, phi, psi = (list(module.parameters()) for module in (twin.F_theta, twin.C_phi, twin.D_psi))
    along_C = plain_step(twin, loss_C, theta + phi, "C", decay=1e-4)
    along_D = plain_step(twin, GAMES[game].L_D(nat, adv), psi, "D")
    along_F = plain_step(twin, GAMES[game].L_F(adv), theta, "F")
    expected = [p + c + f for p, c, f in zip(theta, along_C, along_F, strict=False)]
    expected += [p + c for p, c in zip(phi, along_C[len(theta) :], strict=True)]
    expected += [p + d for p, d in zip(psi, along_D, strict=True)]
    actual = [p for module in (defense.F_theta, defense.C_phi, defense.D_psi) for p in module.parameters()]
    for p, q in zip(actual, expected, strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@torch.no_grad()
def apply(parameters: list[Tensor], steps: list[Tensor]) -> None:
    for parameter, step in zip(parameters, steps, strict=True):
        parameter += step


@pytest.mark.parametrize("game", GAMES)
def test_sequential_sees_each_update_in_the_next_loss(game: str):
    defense, twin = (afd(game=game, update="sequential") for _ in range(2))
    defense.step(x, y)

    theta, phi, psi = (list(module.parameters()) for module in (twin.F_theta, twin.C_phi, twin.D_psi))
    apply(theta + phi, plain_step(twin, L_C(twin.network(x), y), theta + phi, "C", decay=1e-4))
    loss_D = GAMES[game].L_D(twin.D_psi(twin.F_theta(x), y), twin.D_psi(twin.F_theta(x_adv), y))
    apply(psi, plain_step(twin, loss_D, psi, "D"))
    apply(theta, plain_step(twin, GAMES[game].L_F(twin.D_psi(twin.F_theta(x_adv), y)), theta, "F"))
    for part in ("F_theta", "C_phi", "D_psi"):
        for p, q in zip(getattr(defense, part).parameters(), getattr(twin, part).parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


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
    assert penalised["L_F"].item() == plain["L_F"].item() if order == "simultaneous" else True
    assert penalised["L_C"].item() == plain["L_C"].item()


def test_simultaneous_needs_two_encoder_passes_and_sequential_four():
    for order, passes in (("simultaneous", 2), ("sequential", 4)):
        defense, calls = afd(update=order), []
        defense.F_theta.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        defense.step(x, y)
        assert len(calls) == passes
