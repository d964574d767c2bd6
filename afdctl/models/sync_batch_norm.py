"""BatchNorm whose training passes use the statistics of all processes' images.

torch's own SyncBatchNorm computes on GPUs only. This one takes each process's mean, variance and count in one sum,
combines them (Chan et al. 1983), and sums two values per channel in the backward pass. The result is that of one
process with the whole batch, up to rounding. Attacks use evaluation mode, in which processes do not wait for each
other.
"""

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, distributed, nn
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from afdctl import allreduce


class _Synchronised(_BatchNorm):
    """A layer of torch with other training passes; its state is the same."""

    def forward(self, x: Tensor) -> Tensor:
        return self._normalise(x) if self.training and allreduce.process_count() > 1 else super().forward(x)

    # collectives cannot be compiled; torch.compiler.disable would import the compiler, which takes a second, here
    @_disable_dynamo
    def _normalise(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        mean, var, count = shared_statistics(x)
        images = count / allreduce.current_copies()
        self._track(mean, var * (images / (images - 1)))
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, var, count, self.eps)
        return y

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean += weight * (mean - self.running_mean)
        self.running_var += weight * (unbiased_var - self.running_var)


class SyncBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    pass


class SyncBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    pass


class SyncBatchNorm3d(_Synchronised, nn.BatchNorm3d):
    pass


SYNCHRONISED: Final[dict[type[nn.Module], type[_Synchronised]]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
    nn.BatchNorm3d: SyncBatchNorm3d,
}


def synchronise(module: nn.Module) -> list[str]:
    """Synchronise a module's BatchNorm layers in place; return a warning of those that cannot be."""
    others: set[str] = set()
    for layer in module.modules():
        if type(layer) in SYNCHRONISED:
            # in place, because optimizers, attacks and the caller hold the layer
            layer.__class__ = SYNCHRONISED[type(layer)]
        elif isinstance(layer, _BatchNorm) and not isinstance(layer, _Synchronised):
            others.add(type(layer).__name__)
    names = ", ".join(sorted(others))
    return [f"train.sync_batch_norm: layers of type {names} use the statistics of each process"] if others else []


@torch.no_grad()
def average_running_statistics(modules: Iterable[nn.Module]) -> None:
    """Give BatchNorm layers that are not synchronised the mean of their running statistics, the same everywhere."""
    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, _BatchNorm)]
    layers = [layer for layer in layers if not isinstance(layer, _Synchronised)]
    buffers = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var) if buffer is not None]
    if buffers:
        # a double holds the sum of equal floats exactly, so that frozen statistics stay as they are
        mean = allreduce.total(torch.cat(buffers).double()) / allreduce.process_count()
        parts = torch.split(mean, [len(buffer) for buffer in buffers])
        torch._foreach_copy_(buffers, parts)


@torch.no_grad()
def shared_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance (channels,) of x (n, channels, ...) over all processes, and their count (1,)."""
    x = _precise(x.detach())
    if x.numel():
        # torch.var_mean over these dimensions takes twenty times as long on a CPU
        mean, var = torch.batch_norm_update_stats(x, None, None, 0.0)
    else:
        # an error on this process alone would leave the others waiting
        mean = var = x.new_zeros(x.shape[1])
    own = torch.cat([mean, var, mean.new_full((1,), x.numel() / x.shape[1])])
    table = own.new_zeros(allreduce.process_count(), len(own))
    table[distributed.get_rank()] = own
    means, variances, counts = torch.split(allreduce.total(table), [len(mean), len(mean), 1], 1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    return mean, (counts * (variances + (means - mean).square())).sum(0) / count, count


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and var depend on the x of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        return batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, count = ctx.saved_tensors
        x, slope = _precise(x), _precise(gradient)
        scale = torch.rsqrt(var + ctx.eps)
        own = _sums(slope, x, mean, scale)
        # each process has the gradient of its own mean loss, of which the batch's loss has its share
        share = allreduce.current_share()
        gain = scale if weight is None else scale * weight
        by_weight, by_bias = (-gain * allreduce.total(own * share) / share / count).unbind()
        # gain * slope, and by_weight * normalised x + by_bias through the statistics
        x_gradient = batch_norm(x, mean, var, by_weight, by_bias, False, 0.0, ctx.eps)
        x_gradient.addcmul_(slope, gain.view(1, -1, *[1] * (x.dim() - 2)))
        affine = (None, None) if weight is None else own.unbind()
        return x_gradient.to(gradient.dtype), *affine, None, None, None, None


def _sums(slope: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the sums (2, channels) of slope * normalised x and of slope, in one pass over memory."""
    if not x.numel():
        # the operator divides by the number of images, which ends the process
        return x.new_zeros(2, x.shape[1])
    # a GPU needs a weight and the saved values, and does not read the running ones
    _, *sums = torch.ops.aten.native_batch_norm_backward(
        slope, x, torch.ones_like(mean), None, None, mean, scale, True, 0.0, [False, True, True]
    )
    return torch.stack(sums)


def _precise(x: Tensor) -> Tensor:
    # sums of bfloat16 lose small terms
    return x if x.dtype == torch.float64 else x.float()
