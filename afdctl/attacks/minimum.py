"""What the attacks that minimise a norm share: which images fool, how far they are, and rows that come and go."""

from dataclasses import fields, replace
from typing import Self

import torch
from torch import Tensor

ULPS = 16
"""By how many roundings of a logit an image must fool: the same image in a batch of another size is rounded anew."""


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest other logit minus that of y (n,): positive where the model is fooled; NaN where a logit is."""
    return _others(logits, y) - _own(logits, y)


def fools(logits: Tensor, y: Tensor, confidence: float = 0) -> Tensor:
    """Where the margin exceeds `confidence`, and by more than rounding (n,): never where a logit is NaN."""
    other, own = _others(logits, y), _own(logits, y)
    limits = torch.finfo(logits.dtype)
    scale = torch.maximum(other.abs(), own.abs()).clamp_max(limits.max)
    return other - own > confidence + ULPS * limits.eps * scale


class Rows:
    """A dataclass whose fields are tensors with a row for each sample."""

    def take(self, index: Tensor) -> Self:
        """The rows of an index or mask."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})  # type: ignore[arg-type,type-var]


def _own(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None])[:, 0]


def _others(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], -torch.inf).amax(1)
