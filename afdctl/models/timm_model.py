"""Encoders of timm (pip install 'afdctl[timm]'), with random weights: nothing is ever downloaded."""

import warnings
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from afdctl.errors import RecipeError, out_of_memory
from afdctl.formatting import did_you_mean, one_line_error


def timm_model(channels: int, image_size: int, name: str) -> tuple[nn.Module, int]:
    """Build timm's network of a name without its classifier; images (n, c, h, w) to features.

    Errors: RecipeError without timm, for an unknown name, and for images of a size or number of channels that the
    network does not take.
    """
    if find_spec("timm") is None:
        raise RecipeError(f"model.encoder 'timm:{name}': needs timm; pip install 'afdctl[timm]'")
    import timm

    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models(), "`timm.list_models()` lists them")
        raise RecipeError(f"model.encoder 'timm:{name}': timm {timm.__version__} has no such network ({hint})")
    settings: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
    config = timm.get_pretrained_cfg(name)
    # transformers are made for one size
    if config is not None and config.fixed_input_size:
        settings["img_size"] = image_size
    with warnings.catch_warnings():
        # of names that timm has changed
        warnings.simplefilter("ignore", UserWarning)
        try:
            encoder = timm.create_model(name, **settings)
            features = _features(encoder, channels, image_size)
        except Exception as error:
            if out_of_memory(error):
                raise
            raise RecipeError(
                f"model.encoder 'timm:{name}': does not take images of {image_size} x {image_size} pixels with "
                f"{channels} channel{'s' * (channels > 1)} ({one_line_error(error)})"
            ) from error
    smallest = max((stage["reduction"] for stage in getattr(encoder, "feature_info", None) or []), default=1)
    if image_size < smallest:
        raise RecipeError(
            f"model.encoder 'timm:{name}': halves images down to 1/{smallest} of their size, which leaves nothing of "
            f"{image_size} x {image_size} pixels; use resnet18, preact_resnet18 or wrn-D-K, which fit small images"
        )
    return encoder, features


def _features(encoder: nn.Module, channels: int, image_size: int) -> int:
    """Return the number of features of an image, from a pass in evaluation mode, which draws no random numbers."""
    # names of the attribute differ, and some networks have layers after the pooling
    with torch.no_grad():
        _, features = encoder.eval()(torch.zeros(1, channels, image_size, image_size)).shape
    encoder.train()
    return int(features)
