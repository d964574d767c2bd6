"""A plain implementation of a training step: the first step of SGD, and a simple attack."""

import torch
from torch import Generator, Tensor

from afdctl.defenses.base import Defense, Report
from tests.defenses.test_contract import x, y

FROZEN = {"lr_C": 0.0, "lr_D": 0.0, "lr_F": 0.0, "weight_decay_C": 0.0}
UNCHANGED = 0.25
x_adv = (x + 0.1 * (2 * torch.rand(x.shape, generator=Generator().manual_seed(4)) - 1)).clamp(0, 1)
x_adv[: int(UNCHANGED * len(x))] = x[: int(UNCHANGED * len(x))]


def weights(*modules: torch.nn.Module) -> list[Tensor]:
    return [parameter for module in modules for parameter in module.parameters()]


def plain_step(
    defense: Defense, loss: Tensor, parameters: list[Tensor], which: str, decay: float = 0.0
) -> list[Tensor]:
    """What a first step of SGD does: theta - lr (gradient + decay theta)."""
    lr = getattr(defense.table, f"lr_{which}")
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    return [-lr * (g + decay * p) for g, p in zip(gradients, parameters, strict=True)]


@torch.no_grad()
def apply(parameters: list[Tensor], steps: list[Tensor]) -> None:
    for parameter, step in zip(parameters, steps, strict=True):
        parameter += step


def slope(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """The norm of a loss's whole gradient."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


def accuracy(logits: Tensor) -> float:
    return sum(int(row.argmax()) == label for row, label in zip(logits, y.tolist(), strict=True)) / len(y)


def assert_same_weights(actual: list[Tensor], expected: list[Tensor]) -> None:
    for p, q in zip(actual, expected, strict=True):
        assert torch.allclose(p, q, rtol=1e-4, atol=1e-5)


def assert_same_figures(report: Report, expected: dict[str, Tensor | float]) -> None:
    assert report.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(report[name], torch.as_tensor(value, dtype=torch.float32), rtol=1e-4, atol=1e-6), name
