"""N-FGSM: noise, one step, no projection."""

import pytest
import torch
from torch import Generator

from afdctl.attacks.n_fgsm import NOISE, n_fgsm
from afdctl.attacks.norms import lp_norm, random_in_ball
from tests.attacks.linear import model_and_images


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_is_the_noise_and_one_step_of_the_full_epsilon(norm: str):
    model, x, y = model_and_images()
    x = x / 2 + 0.25  # nothing is clipped to [0, 1]
    epsilon = 0.01
    x_adv = n_fgsm(model, x, y, norm=norm, epsilon=epsilon, generator=Generator().manual_seed(3))
    start = random_in_ball(x, NOISE * epsilon, norm, Generator().manual_seed(3))
    assert torch.allclose(lp_norm(x_adv - start, norm), torch.full((len(x),), epsilon), atol=1e-6)
    assert lp_norm(x_adv - x, norm).max() > 1.5 * epsilon
    # the loss of a linear model of two classes rises only along its weights
    towards = (0.5 - y.float())[:, None] * model.weights
    moved = (x_adv - start).flatten(1)
    assert (torch.nn.functional.cosine_similarity(moved, towards.sign() if norm == "linf" else towards) > 0.99).all()


def test_without_a_random_start_it_is_fgsm():
    model, x, y = model_and_images()
    x_adv = n_fgsm(model, x, y, norm="linf", epsilon=0.05, random_start=False, generator=Generator())
    towards = (0.5 - y.float())[:, None] * model.weights
    assert torch.allclose(x_adv, (x + 0.05 * towards.sign().view_as(x)).clamp(0, 1))
