"""The attack that transfers images from a network distilled from the target's answers."""

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import AttackResult
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.attacks.surrogate import distil, plain_network, surrogate
from tests.attacks.linear import model_and_images

SETTINGS = {"epsilon": 0.3, "steps": 10, "epochs": 1, "noise": 0.1, "images": 1}


def attacked(model: nn.Module, x: Tensor, y: Tensor, substitute: nn.Module) -> AttackResult:
    return surrogate(
        model,
        x,
        y,
        rng=SampleRNG(0, "test", range(len(x))),
        substitute=substitute,
        **SETTINGS,  # type: ignore[arg-type]
    )


def test_images_of_the_model_itself_transfer_wherever_it_can_be_fooled():
    model, x, y = model_and_images()
    found = attacked(model, x, y, model)
    assert torch.equal(found.fooled, model.distance(x, "linf") < SETTINGS["epsilon"])
    assert not found.backwards.any()
    assert found.forwards.max() <= 3


def test_no_gradient_of_the_target_is_needed():
    model, x, y = model_and_images()

    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return nn.functional.one_hot(model(x).argmax(1), 2).float()

    assert torch.equal(attacked(Masked(), x, y, model).fooled, attacked(model, x, y, model).fooled)


def test_distillation_learns_the_answers_and_repeats_itself(generator: torch.Generator):
    x = torch.rand((256, 1, 8, 8), generator=generator)

    def brighter_half(images: Tensor) -> Tensor:
        left, right = images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))
        return torch.stack([left, right], 1)

    state = torch.get_rng_state()
    first, again = (distil(brighter_half, x, epochs=25, noise=0.1, seed=0, classes=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert (first(x).argmax(1) == brighter_half(x).argmax(1)).float().mean() > 0.9
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (1, 28, 28), (3, 64, 48)])
def test_the_plain_network_takes_images_of_any_size(shape: tuple[int, int, int]):
    assert plain_network(shape, 7)(torch.zeros(2, *shape)).shape == (2, 7)
