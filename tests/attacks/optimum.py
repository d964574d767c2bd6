"""Linear models of several classes, and the exact least perturbation in [0, 1] that fools one, in double precision."""

import torch
from torch import Tensor, nn


class Multiclass(nn.Module):
    """Logits scale (W x + b) of images (n, c, h, w); W is (classes, pixels)."""

    def __init__(self, weights: Tensor, bias: Tensor, scale: float = 1) -> None:
        super().__init__()
        self.weights, self.bias, self.scale = nn.Parameter(weights), nn.Parameter(bias), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x.flatten(1) @ self.weights.T + self.bias)


def random_linear(
    n: int, classes: int = 10, scale: float = 1, dtype: torch.dtype = torch.float
) -> tuple[Multiclass, Tensor, Tensor]:
    """A model of 8 x 8 images, images anywhere in the box, and the labels that it gives them."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn((classes, 64), generator=generator, dtype=torch.double) / 8
    bias = 0.1 * torch.randn(classes, generator=generator, dtype=torch.double)
    x = torch.rand((n, 1, 8, 8), generator=generator, dtype=torch.double).to(dtype)
    model = Multiclass(weights.to(dtype), bias.to(dtype), scale).eval().requires_grad_(False)
    return model, x, model(x).argmax(1)


def optimum(model: Multiclass, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """The least norm (n,) with which images of class y reach another class's boundary; inf where the box forbids it."""
    weights, bias, x = model.weights.double(), model.bias.double(), x.double().flatten(1)
    distances = torch.full((len(x), len(weights)), torch.inf, dtype=torch.double)
    for k in range(len(weights)):
        toward = weights[k] - weights[y]
        gap = -(toward * x).sum(1) - (bias[k] - bias[y])
        room = torch.where(toward > 0, 1 - x, x)
        distances[:, k] = torch.where(y == k, torch.inf, least(toward.abs(), room, gap, norm))
    return distances.amin(1)


def least(gain: Tensor, room: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The least norm of 0 <= t <= room (n, d) with gain . t >= gap (n,)."""
    spent = knapsack(gain, room, gap) if norm == "l1" else filled(gain, room, gap, norm)
    return torch.where((gain * room).sum(1) < gap, torch.inf, spent)


def knapsack(gain: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """L1: fill the pixels of the largest gain first, the last of them in part."""
    order = gain.argsort(1, descending=True)
    gain, room = gain.gather(1, order), room.gather(1, order)
    before = (gain * room).cumsum(1) - gain * room
    return ((gap[:, None] - before) / gain.clamp_min(1e-300)).clamp_min(0).minimum(room).sum(1)


def filled(gain: Tensor, room: Tensor, gap: Tensor, norm: str) -> Tensor:
    """L2: t = min(level gain, room); Linf: t = min(level, room); the level by bisection."""
    slope = torch.ones_like(gain) if norm == "linf" else gain
    low, high = torch.zeros_like(gap), (room / slope.clamp_min(1e-300)).amax(1)
    for _ in range(100):
        middle = (low + high) / 2
        enough = (gain * (middle[:, None] * slope).minimum(room)).sum(1) >= gap
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    t = (high[:, None] * slope).minimum(room)
    return torch.linalg.vector_norm(t, ord=torch.inf if norm == "linf" else 2, dim=1)
