"""Test the verification of x': ball, box, and a new forward pass."""

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NO_CLASS
from afdctl.attacks.norms import clip_to_ball, lp_norm
from afdctl.evaluation.outputs import compute_fingerprint
from afdctl.evaluation.verify import predict, verify
from afdctl.models.precision import MixedPrecision


def bright(x: Tensor) -> Tensor:
    """Class 1 where the mean pixel is above 0.5."""
    mean = x.flatten(1).mean(1)
    return torch.stack([torch.zeros_like(mean), mean - 0.5], 1)


x = torch.full((3, 1, 2, 2), 0.4)
y = torch.zeros(3, dtype=torch.long)
clean = torch.zeros(3, dtype=torch.long)
claimed = torch.ones(3, dtype=torch.bool)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.1), ("l1", 0.2)])
def test_an_x_adv_outside_is_clipped(norm: str, epsilon: float, generator: torch.Generator):
    images = torch.rand((50, 3, 4, 4), generator=generator)
    moved = clip_to_ball(images + torch.randn(images.shape, generator=generator), images, epsilon, norm)
    assert lp_norm(moved - images, norm).max() <= epsilon * (1 + 1e-5)
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_an_x_adv_inside_keeps_its_bits(generator: torch.Generator):
    images = torch.rand((50, 1, 4, 4), generator=generator)
    moved = (images + 0.01 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    for norm in ("l2", "l1"):
        assert torch.equal(clip_to_ball(moved, images, 1.0, norm), images + (moved - images))
    assert torch.equal(clip_to_ball(moved, images, 0.5, "linf"), moved)


def test_an_image_beyond_the_ball_does_not_count():
    """0.55 is bright, but at 0.1 from 0.4 the most is 0.5, which is not."""
    verdict = verify(bright, x, y, torch.full_like(x, 0.55), clean=clean, claimed=claimed, epsilon=0.1, norm="linf")
    assert verdict.robust.all()
    assert verdict.norm.max() <= 0.1 * (1 + 1e-5)


def test_a_fooled_sample_and_a_misclassified_one():
    x_adv = x.clone()
    x_adv[0] = 0.52
    wrong = torch.tensor([0, 0, 1])
    verdict = verify(bright, x, y, x_adv, clean=wrong, claimed=claimed, epsilon=0.15, norm="linf")
    assert verdict.robust.tolist() == [False, True, False]
    assert verdict.prediction.tolist() == [1, 0, 0]


def test_a_claim_at_the_boundary_is_nudged_over_it():
    """A minimal perturbation that rounding put on the wrong side counts where 0.1 % more fools."""
    x_adv = torch.full_like(x, 0.49995)
    assert not verify(bright, x, y, x_adv, clean=clean, claimed=claimed, epsilon=0.2, norm="linf").robust.any()
    assert verify(bright, x, y, x_adv, clean=clean, claimed=~claimed, epsilon=0.2, norm="linf").robust.all()
    assert verify(bright, x, y, x_adv, clean=clean, claimed=claimed, epsilon=0.09999, norm="linf").robust.all()


class Recorder(nn.Module):
    """An encoder that computes in bfloat16, and records in which precision it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MixedPrecision(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), precision="bf16")
        self.calls: set[tuple[torch.dtype, bool]] = set()
        self.encoder[0].register_forward_hook(self.record)

    def record(self, module: nn.Module, inputs: tuple[Tensor, ...], z: Tensor) -> None:
        self.calls.add((z.dtype, torch.backends.cudnn.allow_tf32))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.encoder(images)
        return logits


def test_a_bf16_network_is_verified_in_float32():
    network = Recorder().eval()
    network(x)
    assert network.calls == {(torch.bfloat16, True)}
    network.calls.clear()
    with torch.autocast("cpu", torch.bfloat16):
        verify(network, x, y, x, clean=predict(network, x), claimed=claimed, epsilon=0.1, norm="linf")
    assert network.calls == {(torch.float32, False)}
    network.calls.clear()
    with torch.autocast("cpu", torch.bfloat16):
        compute_fingerprint(network, x, 2)
    assert network.calls == {(torch.float32, False)}
    assert network.encoder.precision == "bf16"


def test_not_a_number_is_no_class_and_never_robust():
    def broken(images: Tensor) -> Tensor:
        return bright(images) * torch.tensor(torch.nan)

    assert predict(broken, x).tolist() == [NO_CLASS] * 3
    assert not verify(broken, x, y, x, clean=clean, claimed=claimed, epsilon=0.1, norm="linf").robust.any()


def test_pixels_that_are_no_numbers_become_x():
    assert torch.equal(clip_to_ball(torch.full_like(x, torch.nan), x, 0.1, "l2"), x)
