"""Sums over the processes of one training; one process gets what it gives.

DistributedDataParallel does not reduce the gradients of `torch.autograd.grad` (pytorch issue 47562), and afdctl uses no
other, so gradients are reduced here, where every step of an optimizer passes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn


class _Training:
    """The processes of this training. A process group alone may be that of a program that calls afdctl."""

    processes = 1


class _Batch:
    """The batch of the current step. Not a context variable: on a GPU, backward passes run in other threads."""

    share = 1.0
    copies = 1


@contextmanager
def over_processes(count: int) -> Iterator[None]:
    """Sum over the `count` processes of torch's default group inside the block."""
    before, _Training.processes = _Training.processes, count
    try:
        yield
    finally:
        _Training.processes = before


def process_count() -> int:
    """Return the number of processes of this training."""
    return _Training.processes


@contextmanager
def batch_share(share: float, copies: int = 1) -> Iterator[None]:
    """Weight this process by its share of the batch; the shares of all processes sum to 1.

    `copies` processes have the same images.
    """
    before = _Batch.share, _Batch.copies
    _Batch.share, _Batch.copies = share, copies
    try:
        yield
    finally:
        _Batch.share, _Batch.copies = before


def current_share() -> float:
    """Return this process's share of the batch."""
    return _Batch.share


def current_copies() -> int:
    """Return how many processes have each image of the batch."""
    return _Batch.copies


def total(tensor: Tensor) -> Tensor:
    """Return the sum over all processes; `tensor` may be overwritten."""
    if process_count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def reduce_gradients(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of the whole batch's mean loss, from those of each process's mean loss."""
    if process_count() == 1:
        return gradients
    # one message for all: a network has a hundred small tensors, each of which would cost a round trip
    flat = total(torch.cat([gradient.flatten() for gradient in gradients]).mul_(_Batch.share))
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]


@torch.no_grad()
def copy_from_first(modules: Iterable[nn.Module], tensors: Iterable[Tensor] = ()) -> None:
    """Give all processes the parameters and buffers of the first one, and its values of other tensors."""
    if process_count() > 1:
        of_modules = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        for tensor in (*of_modules, *tensors):
            # a broadcast needs a dense tensor, which one in channels-last layout is not
            values = tensor.detach().contiguous()
            distributed.broadcast(values, 0)
            tensor.copy_(values)
