"""Test each sanity check with a model that fails it, and that a sound model causes no warning."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation.outputs import compute_fingerprint, matches_fingerprint
from afdctl.evaluation.sanity_checks import check

CLASSES = list("abcd")


class Model(nn.Module):
    """Classifies images (1, 4, 4) by their brightest quarter; `change` is applied to the logits."""

    def __init__(self, change: Callable[[Tensor], Any] = lambda z: z) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.scale * nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.rand(64, 1, 4, 4, generator=generator)


@pytest.fixture
def y(x: Tensor) -> Tensor:
    return Model()(x).argmax(1)


def test_a_sound_model_causes_no_warning(x: Tensor, y: Tensor):
    assert check(Model().eval(), x, y, CLASSES) == []


def test_a_confident_model_causes_no_warning(x: Tensor, y: Tensor):
    """Its probabilities are 1 in float32, and none of its gradients is 0."""
    model = Model(lambda z: 60 * z).eval()
    assert (model(x).softmax(1).gather(1, y[:, None]) == 1).float().mean() > 0.2
    assert check(model, x, y, CLASSES) == []


def rounded(z: Tensor) -> Tensor:
    return z.detach().round() + 0 * z


def test_logits_that_sum_to_1_are_not_yet_probabilities(x: Tensor, y: Tensor):
    assert check(Model(lambda z: z - z.mean(1, keepdim=True) + 0.25).eval(), x, y, CLASSES) == []


class Tiny(torch.autograd.Function):
    """Lets the gradient of the margin pass (1 and -1 in two places), but not that of the cross-entropy."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.round() * (gradient.abs() == 1)


WARNINGS = {
    "softmax": (lambda z: z.softmax(1), ["the outputs are probabilities"]),
    "random": (lambda z: z + torch.randn_like(z) / 10, ["two passes of the same images differ"]),
    "of its batch": (lambda z: z - z.mean(0), ["an image's outputs depend on its batch"]),
    "saturated": (lambda z: 1e4 * z, ["have no gradient of the cross-entropy; trust apgd_t, fab_t and square"]),
    "rounded": (rounded, ["64 of 64 checked images have no gradient that an attack"]),
    "rounded and saturated": (lambda z: 1e4 * rounded(z), ["64 of 64 checked images have no gradient that an attack"]),
    "detached": (lambda z: z.detach(), ["the outputs have no gradient"]),
    "constant": (lambda z: 0 * z, ["64 of 64 checked images have no gradient that an", "chance"]),
    "nan gradient": (lambda z: z + 0 * (z - z).sqrt(), ["64 of 64 checked images have no gradient that an attack"]),
    "tiny": (
        Tiny.apply,
        ["64 of 64 checked images have no gradient of the cross-entropy; trust apgd_t, fab_t and square"],
    ),
    "turned": (lambda z: z.roll(1, 1), ["only 0 of 64 checked images are classified correctly, no better than chance"]),
}


@pytest.mark.parametrize("fault", WARNINGS)
def test_a_fault_is_reported_in_one_line(x: Tensor, y: Tensor, fault: str):
    change, expected = WARNINGS[fault]
    warnings = check(Model(change).eval(), x, y, CLASSES)
    if fault in ("of its batch", "rounded", "rounded and saturated"):
        warnings = [warning for warning in warnings if "chance" not in warning]
    assert len(warnings) == len(expected)
    assert all(part in warning for part, warning in zip(expected, warnings, strict=True))
    assert not any("\n" in warning for warning in warnings)


@pytest.mark.parametrize("flat", [3, 4])
def test_a_few_flat_images_of_many_are_a_coincidence(generator: torch.Generator, flat: int):
    x = torch.rand(300, 1, 4, 4, generator=generator)
    at = torch.arange(300)[:, None] < flat
    model = Model(lambda z: torch.where(at, z.detach(), z) if len(z) == 300 else z).eval()
    warnings = check(model, x, Model()(x).argmax(1), CLASSES)
    assert len(warnings) == (flat > 3)
    assert all("have no gradient that an attack" in warning for warning in warnings)


def test_training_mode(x: Tensor, y: Tensor):
    assert check(Model(), x, y, CLASSES) == ["the model is in training mode; attacks see it in evaluation mode"]


def infinite(z: Tensor) -> Tensor:
    return torch.where(z == z.max(), torch.inf, z)


def rejects(z: Tensor) -> Tensor:
    raise ValueError("wants 3 channels\nnot 1")


def rejects_one(z: Tensor) -> Tensor:
    assert len(z) > 1, "more than one"
    return z


ERRORS = [
    (rejects, "the model rejects images of shape (64, 1, 4, 4): ValueError: wants 3 channels"),
    (rejects_one, "the model rejects images of shape (1, 1, 4, 4): AssertionError: more than one"),
    (lambda z: (z, z), "the model returns a tuple, not a tensor of logits (64, 4)"),
    (lambda z: z[:, :3], "the model has 3 classes, the data set has 4"),
    (lambda z: z[:, :, None], "the model returns a tensor of shape (64, 4, 1), not logits (64, 4)"),
    (lambda z: z[0], "the model returns a tensor of shape (4), not logits (64, 4)"),
    (lambda z: z.argmax(1), "the model returns a tensor of shape (64), not logits (64, 4)"),
    (lambda z: z.long(), "the model returns torch.int64 values, not logits, so attacks have no gradient"),
    (lambda z: z * torch.nan, "the model returns NaN or infinity for 64 of 64 images"),
    (infinite, "the model returns NaN or infinity for 1 of 64 images"),
]


@pytest.mark.parametrize(("change", "message"), ERRORS)
def test_what_cannot_be_attacked_is_refused(x: Tensor, y: Tensor, change: Callable[[Tensor], Any], message: str):
    with pytest.raises(RecipeError) as raised:
        check(Model(change).eval(), x, y, CLASSES)
    assert str(raised.value) == message


@pytest.mark.parametrize("room", [0, 16])
def test_full_memory_is_not_the_models_fault(x: Tensor, y: Tensor, room: int):
    """It is checked with fewer images at a time."""
    sizes: list[int] = []

    def cramped(z: Tensor) -> Tensor:
        sizes.append(len(z))
        if len(z) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return z

    model = Model(cramped).eval()
    if not room:
        with pytest.raises(AfdctlError, match=r"^the memory is too small for a single image$"):
            check(model, x, y, CLASSES)
        assert sizes == [64, 32, 16, 8, 4, 2, 1]
    else:
        assert check(model, x, y, CLASSES) == []
        assert compute_fingerprint(model, x, 4) == pytest.approx(compute_fingerprint(Model().eval(), x, 4), rel=1e-5)


@pytest.mark.parametrize("fault", [None, rejects])
def test_modes_gradients_and_generators_are_unchanged(x: Tensor, y: Tensor, fault: Any):
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1).eval(), Model(fault or (lambda z: z + torch.rand(()))))
    grad = network[2].scale.grad = torch.tensor(5.0)
    buffers = [buffer.clone() for buffer in network.buffers()]
    state = torch.get_rng_state()
    try:
        check(network, x, y, CLASSES)
    except RecipeError:
        assert fault
    assert [part.training for part in network] == [True, False, True]
    assert network[2].scale.grad is grad
    assert grad == 5
    assert network[2].scale.requires_grad
    assert not x.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_fingerprint_distinguishes_models_and_tolerates_rounding(x: Tensor):
    model = Model().eval()
    known = compute_fingerprint(model, x, 4)
    assert len(known) == len(x)
    assert known == compute_fingerprint(model, x, 4)
    assert matches_fingerprint(model, x, 4, known)
    assert matches_fingerprint(Model(lambda z: z * (1 + 1e-6)).eval(), x, 4, known)
    assert not matches_fingerprint(Model(lambda z: z * (1 + 1e-3)).eval(), x, 4, known)
    assert not matches_fingerprint(Model(lambda z: z.roll(1, 1)).eval(), x, 4, known)
    assert not matches_fingerprint(model, x, 4, known[:-1])


def test_a_random_model_agrees_within_its_noise(x: Tensor):
    """Its noise comes from numpy, whose generator is not seeded."""

    def noisy(z: Tensor) -> Tensor:
        return z + torch.from_numpy(np.random.default_rng().normal(0, 0.01, z.shape)).float()

    model = Model(noisy).eval()
    known = compute_fingerprint(model, x, 4)
    assert matches_fingerprint(model, x, 4, known)
    assert not matches_fingerprint(Model(lambda z: noisy(z.roll(1, 1))).eval(), x, 4, known)
