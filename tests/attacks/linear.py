"""Two-class linear models, whose distance to the boundary is known in closed form."""

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Logits (0, w x + b) of images (n, 1, 4, 4)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ self.weights
        return torch.stack([torch.zeros_like(score), score], 1)

    def distance(self, x: Tensor, norm: str) -> Tensor:
        """How far each image is from the boundary (n,): |w x + b| over the dual norm of w."""
        order = 1 if norm == "linf" else 2
        distances: Tensor = self(x)[:, 1].abs() / torch.linalg.vector_norm(self.weights, ord=order)
        return distances.detach()


def model_and_images(n: int = 64) -> tuple[Linear, Tensor, Tensor]:
    """A model, images far enough from 0 and 1 for the box not to matter, and the labels that it gives them."""
    generator = torch.Generator().manual_seed(3)
    model = Linear(torch.randn(16, generator=generator))
    x = 0.5 + 0.1 * torch.randn((n, 1, 4, 4), generator=generator)
    return model.eval(), x, model(x).argmax(1)
