"""Few sizes of batches where samples drop out one by one: on a GPU each new size costs a search for kernels anew."""

import torch
from torch import Tensor

from afdctl.attacks.iterate import Model


def bucket(n: int) -> int:
    """The next of 1, ..., 8, 10, 12, 14, 16, 20, 24, 28, 32, ...: four sizes an octave, at most a quarter is wasted."""
    step = 1 << max(0, n.bit_length() - 3)
    return -(-n // step) * step


def in_buckets(model: Model, x: Tensor) -> Tensor:
    """The logits (n, classes) of images (n, c, h, w) that black images fill up to a bucket on their way through."""
    padding = x.new_zeros(bucket(len(x)) - len(x), *x.shape[1:])
    return model(torch.cat([x, padding]))[: len(x)]
