"""Test projections, steps and starts of all three norms, also with rounding, tiny gradients and NaN."""

import pytest
import torch
from torch import Generator, Tensor

from afdctl.attacks.norms import (
    MIN_NORM,
    clip_to_ball,
    lp_norm,
    project,
    random_in_ball,
    random_on_sphere,
    steepest_direction,
)
from tests.attacks.cases import length

every_norm = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
EPSILON = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


@every_norm
def test_norms_are_those_of_double_precision(norm: str, generator: Generator):
    delta = torch.randn((20, 3, 8, 8), generator=generator)
    assert torch.allclose(lp_norm(delta, norm).double(), length(delta, norm), rtol=1e-5)


@every_norm
def test_a_projection_is_the_nearest_point_in_the_box_first_cut_then_clipped(norm: str, generator: Generator):
    """In double precision, against its formula."""
    x = torch.rand((20, 1, 6, 6), generator=generator, dtype=torch.double)
    delta = torch.randn((20, 1, 6, 6), generator=generator, dtype=torch.double)
    epsilon = EPSILON[norm]
    if norm == "linf":
        cut = delta.clamp(-epsilon, epsilon)
    else:
        cut = delta * (epsilon / length(delta, norm)).clamp_max(1).view(-1, 1, 1, 1)
    assert torch.allclose(project(x + delta, x, epsilon, norm), (x + cut).clamp(0, 1), atol=1e-12)


@every_norm
def test_clipping_keeps_the_bits_of_what_is_inside_and_projects_the_rest(norm: str, generator: Generator):
    x = torch.rand((50, 1, 4, 4), generator=generator)
    near = (x + EPSILON[norm] / 100 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    assert torch.equal(clip_to_ball(near, x, EPSILON[norm], norm), near)
    far = torch.rand(x.shape, generator=generator)
    outside = lp_norm(far - x, norm) > EPSILON[norm]
    assert outside.any()
    clipped = clip_to_ball(far, x, EPSILON[norm], norm)
    assert torch.equal(clipped[outside], project(far, x, EPSILON[norm], norm)[outside])
    assert torch.equal(clip_to_ball(clipped, x, EPSILON[norm], norm), clipped), "clipping twice changes nothing"


@every_norm
def test_a_pixel_of_nan_becomes_that_of_x(norm: str):
    x = torch.full((2, 1, 2, 2), 0.5)
    x_adv = torch.full((2, 1, 2, 2), 0.55)
    x_adv[0, 0, 0, 0], x_adv[1] = torch.nan, torch.nan
    clipped = clip_to_ball(x_adv, x, EPSILON[norm], norm)
    assert clipped[0, 0, 0, 0] == 0.5
    assert clipped[0, 0, 1, 1] == x_adv[0, 0, 1, 1]
    assert torch.equal(clipped[1], x[1])


@every_norm
def test_no_perturbation_stays_none(norm: str):
    x = torch.rand((3, 1, 4, 4), generator=Generator().manual_seed(0))
    assert torch.equal(project(x, x, EPSILON[norm], norm), x)
    assert torch.equal(clip_to_ball(x, x, 0.0, norm), x)
    assert not steepest_direction(torch.zeros_like(x), norm).any()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e-10, 1.0, 1e13, 1e36])
def test_a_direction_has_length_1_at_every_scale(norm: str, scale: float, generator: Generator):
    """The squares of a confident model's gradient underflow, those of a broken model's overflow."""
    gradient = torch.randn((5, 1, 4, 4), generator=generator)
    direction = steepest_direction(scale * gradient, norm)
    assert torch.allclose(lp_norm(direction, norm), torch.ones(5), atol=1e-5)
    assert torch.allclose(direction, steepest_direction(gradient, norm), atol=1e-5)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_rescaled_direction_has_the_bits_of_the_plain_formula(norm: str, generator: Generator):
    """Its pixels are below the limit of rescaling, but its norm is not: foolbox divides by the norm as it is."""
    gradient = 9e-13 * torch.rand((5, 1, 28, 28), generator=generator)
    size = lp_norm(gradient, norm)
    assert (size > MIN_NORM).all()
    assert torch.equal(steepest_direction(gradient, norm), gradient * (1 / size).view(-1, 1, 1, 1))


@every_norm
@pytest.mark.parametrize("draw", [random_in_ball, random_on_sphere])
def test_starts_are_in_ball_and_box_and_repeat_themselves(norm: str, draw, generator: Generator):
    x = torch.rand((20, 1, 6, 6), generator=generator)

    def start(seed: int) -> Tensor:
        return draw(x, EPSILON[norm], norm, Generator().manual_seed(seed))

    assert (length(start(1) - x, norm) <= EPSILON[norm] * (1 + 1e-5)).all()
    assert ((start(1) >= 0) & (start(1) <= 1)).all()
    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))
