"""Adversaries for a union of balls in several norms."""

import pytest
import torch
from torch import Generator

from afdctl.attacks.pgd import pgd_ce
from afdctl.attacks.union import msd, worst_of
from tests.attacks.cases import images, length, small_model
from tests.conftest import NoWaitingForTheDevice

BALLS = {"linf": 0.05, "l2": 0.4, "l1": 2.0}


def test_worst_of_takes_the_largest_loss_of_each_image():
    logits = {0.0: [0.0, 3.0], 0.5: [2.0, 0.0], 1.0: [torch.nan, 0.0]}

    def model(x):
        return torch.tensor([logits[round(value, 1)] for value in x.flatten().tolist()])

    candidates = [torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1), torch.tensor([0.5, 0.0, 0.0]).view(3, 1, 1, 1)]
    y = torch.tensor([0, 1, 0])
    # losses are large where y's logit is small; a NaN is never the largest
    assert worst_of(model, y, candidates).flatten().tolist() == [0, 0.5, 0]


@pytest.mark.parametrize("norms", [["linf", "l2"], ["l2", "l1"], ["linf", "l2", "l1"]])
def test_msd_ends_in_one_of_the_balls_and_finds_more_than_each_alone(norms: list[str], generator: Generator):
    model, x = small_model(), images(32)
    y = model(x).argmax(1)
    balls = {norm: BALLS[norm] for norm in norms}
    more = {"steps": 10, "random_start": False, "return_iterate": "best_loss", "generator": generator}
    x_adv = msd(model, x, y, balls=balls, **more)
    inside = torch.stack([length(x_adv - x, norm) <= radius * (1 + 1e-5) for norm, radius in balls.items()])
    assert inside.any(0).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1

    def loss(found):
        return torch.nn.functional.cross_entropy(model(found), y).item()

    alone = [loss(pgd_ce(model, x, y, norm=norm, epsilon=radius, **more)) for norm, radius in balls.items()]
    assert loss(x_adv) > 0.97 * max(alone)
    with NoWaitingForTheDevice():
        msd(model, x, y, balls=balls, **more)
