"""A user's encoder: any module from images (n, c, h, w) to features (n, m), checked with a pass of two images."""

import inspect
from typing import Any, Final

import torch
from torch import Tensor, nn

from afdctl.errors import RecipeError
from afdctl.formatting import with_article
from afdctl.models.valueless import check_values
from afdctl.registry import ENCODERS, load, user_code
from afdctl.user_code.code import UserCode, located
from afdctl.user_code.global_state import preserved

# images of the pass: BatchNorm cannot normalise one
IMAGES: Final = 2


def build_encoder(
    name: str, *, channels: int, image_size: int, width: int | None = None, **own: Any
) -> tuple[nn.Module, int]:
    """Build the encoder of a name in the registry or of a user's code; return it and its number of features.

    A user's function or class gets those of the arguments that it takes. Errors of its code: RecipeError with file and
    line, also for features of another shape than (n, m), for parameters without values, and for hooks.
    """
    code = user_code(ENCODERS, name)
    settings = {"channels": channels, "image_size": image_size} | ({} if width is None else {"width": width})
    factory = load(ENCODERS, name)
    if code is None:
        built: tuple[nn.Module, int] = factory(**settings)
        return built
    with code.running(f"{factory.__name__}()"):
        module = factory(**accepted(factory, settings), **own)
    module = module[0] if isinstance(module, tuple) and module else module
    if not isinstance(module, nn.Module):
        raise RecipeError(f"{located(name)}: returned {with_article(type(module).__name__)}, not a torch.nn.Module")
    check_values(module, located(name), lazy_allowed=True)
    z = try_images(module.float(), code, name, (channels, image_size, image_size))
    # only now, because lazy layers have a hook until their first pass
    if hooked := [key for key, layer in module.named_modules() if layer._forward_pre_hooks or layer._forward_hooks]:
        where = f"layer '{hooked[0]}'" if hooked[0] else "the encoder"
        raise RecipeError(
            f"{located(name)}: {where} has a hook, which attacks do not call; compute it in forward, or with "
            "torch.nn.utils.parametrizations"
        )
    return module, z.shape[1]


def accepted(factory: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a function takes by name."""
    # the signature of torch's own __init__ takes everything, but it refuses every argument
    if inspect.isclass(factory) and factory.__init__ is nn.Module.__init__:
        return {}
    parameters = inspect.signature(factory).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {key: value for key, value in settings.items() if takes_all or key in parameters}


def try_images(module: nn.Module, code: UserCode, name: str, shape: tuple[int, int, int]) -> Tensor:
    """Return the features of grey images, in evaluation mode; lazy parameters get their shapes."""
    shown_shape = f"({IMAGES}, {', '.join(map(str, shape))})"
    was_training = module.training
    try:
        with preserved(), torch.no_grad(), code.running(f"images of shape {shown_shape}"):
            z = module.eval()(torch.full((IMAGES, *shape), 0.5))
    finally:
        module.train(was_training)
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != IMAGES or not z.is_floating_point():
        found = f"{z.dtype} {tuple(z.shape)}".removeprefix("torch.") if isinstance(z, Tensor) else type(z).__name__
        raise RecipeError(f"{located(name)}: features of images {shown_shape} must be floats (n, m), not {found}")
    # unused in the pass
    check_values(module, located(name))
    if not z.isfinite().all():
        raise RecipeError(f"{located(name)}: features of a grey image are not finite")
    return z
