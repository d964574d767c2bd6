"""Find the tensors of a module that have no values: lazy ones, which wait for a first pass, and those on `meta`."""

from itertools import chain

from torch import nn
from torch.nn.parameter import is_lazy

from afdctl.errors import RecipeError
from afdctl.formatting import shorten_list


def check_values(module: nn.Module, subject: str, *, lazy_allowed: bool = False) -> None:
    """Raise RecipeError that begins with the subject for tensors without values; a first pass gives lazy ones theirs.

    `lazy_allowed` where that pass is still to come.
    """
    tensors = dict(chain(module.named_parameters(), module.named_buffers()))
    if meta := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise RecipeError(
            f"{subject}: has tensors without values on the meta device ({shorten_list(meta)}); build it on the CPU"
        )
    lazy = [] if lazy_allowed else [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if lazy:
        raise RecipeError(
            f"{subject}: has lazy tensors without values ({shorten_list(lazy)}); pass images through them"
        )
