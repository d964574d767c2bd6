"""APGD-CE against AutoAttack's own implementation, from the same start."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import nn

from afdctl.attacks.apgd import apgd_from, checkpoint_steps
from afdctl.attacks.norms import random_on_sphere


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    # double precision: in single, two orders of summation soon differ in the sign of a gradient
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


@pytest.mark.parametrize("steps", [10, 40, 100])
@pytest.mark.parametrize(("norm", "their_norm", "epsilon"), [("linf", "Linf", 0.05), ("l2", "L2", 0.7)])
def test_parity_with_autoattack(
    model: nn.Module, generator: torch.Generator, norm: str, their_norm: str, epsilon: float, steps: int
):
    x = torch.rand((64, 1, 16, 16), generator=generator, dtype=torch.double)
    y = model(x).argmax(1)
    start = random_on_sphere(x, epsilon, norm, generator)
    theirs = APGDAttack(model, n_iter=steps, norm=their_norm, eps=epsilon, loss="ce", rho=0.75, device="cpu")
    theirs.init_hyperparam(x)
    worst, robust, _, last_fooling = theirs.attack_single_run(x, y, x_init=start)

    def ours(return_iterate: str) -> torch.Tensor:
        return apgd_from(model, x, start, y, norm=norm, epsilon=epsilon, steps=steps, return_iterate=return_iterate)

    # they count rises of the loss in single precision, so a near tie may halve a step in one and not in the other
    same = ((ours("best_loss") - worst).flatten(1).abs().amax(1) < 1e-6).double().mean()
    assert same >= 0.95
    fooled = ~robust.bool()
    assert 0 < fooled.sum() < len(x)
    kept = ours("last_success")
    assert torch.equal(kept[~fooled], x[~fooled])
    assert ((kept - last_fooling)[fooled].flatten(1).abs().amax(1) < 1e-6).double().mean() >= 0.9


def test_checkpoint_steps_of_the_paper():
    """Croce & Hein 2020, section 3.1: p = 0, 0.22, then intervals shrinking by 0.03 to 0.06, of 100 steps."""
    assert sorted(checkpoint_steps(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
