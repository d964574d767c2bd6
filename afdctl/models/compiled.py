"""Compile an encoder with torch.compile, and keep its results when a CUDA graph runs again."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

# the modes of torch.compile that also capture CUDA graphs, where the module is on a CUDA device
CAPTURING_MODES: Final = ("reduce-overhead", "max-autotune")


def compile_in_place(module: nn.Module, mode: str) -> None:
    """Compile the calls of a module from images to features.

    Each batch size gets its own kernels. An epoch has two sizes, and kernels for any size would be slower for both.
    """
    module.compile(dynamic=False, mode=mode)
    # nn.Module does not store the mode, which `FusedModel` needs for its copy
    vars(module)["compile_mode"] = mode
    if mode in CAPTURING_MODES and any(parameter.is_cuda for parameter in module.parameters()):
        copy_results(module)


def copy_results(module: nn.Module) -> None:
    """Copy the results of a compiled module out of the memory of its CUDA graph.

    The next call overwrites that memory, or torch refuses to read it, but a step keeps features and gradients of one
    call during the next: AFD's gradients of L_C while it encodes x', APGD's best gradient while it searches on.
    """
    compiled: Callable[[Tensor], Tensor] | None = module._compiled_call_impl
    assert compiled is not None

    def call(x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            x = x.view_as(x)
            x.register_hook(torch.clone)  # type: ignore[no-untyped-call]
        return compiled(x).clone()

    module._compiled_call_impl = call
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.clone)  # type: ignore[no-untyped-call]
