"""Square's own search in L-infinity; that it is its library's, bit by bit, is held in test_autoattack."""

import torch
from pyautoattack.square import SquareAttack
from torch import Generator, Tensor

from afdctl.attacks.square import margins, search_linf, square_side
from tests.attacks.short import images, net


def test_squares_shrink_as_the_librarys_do():
    theirs = SquareAttack(None, eps=0.1, resc_schedule=False)
    for query in range(9000):
        side = max(round((theirs.p_selection(query) * 28 * 20) ** 0.5), 1)
        assert square_side(query, 28, 20) == min(side, 20)


def test_who_is_fooled_costs_no_more_queries():
    model, seen = net(10), []

    def counting(image: Tensor) -> Tensor:
        seen.append(len(image))
        logits: Tensor = model(image)
        return logits

    x, y = images(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        taken, x_adv = search_linf(counting, x, y, epsilon=0.05, queries=60)
    assert taken.sum() == sum(seen)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < seen[0]
    assert torch.equal(model(x_adv).argmax(1) != y, taken < 61)


def test_a_nan_is_no_better():
    """A query that the model answers NaN is not taken, and the next one is asked all the same."""
    model, calls = net(10), []

    def broken(image: Tensor) -> Tensor:
        calls.append(1)
        logits: Tensor = model(image)
        return logits * torch.nan if len(calls) % 2 == 0 else logits

    x, y = images(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        taken, x_adv = search_linf(broken, x, y, epsilon=0.05, queries=60)
        assert (margins(model(x_adv), y) <= margins(model(x), y)).float().mean() > 0.9
    assert (taken < 61).any()
    assert x_adv.isfinite().all()


def test_stays_in_ball_and_box():
    x = torch.rand(6, 3, 9, 7, generator=Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        taken, x_adv = search_linf(
            lambda image: torch.eye(4)[:1].expand(len(image), 4), x, torch.zeros(6).long(), epsilon=0.2, queries=30
        )
    assert taken.tolist() == [31] * 6
    assert (x_adv - x).abs().max() <= 0.2 + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
