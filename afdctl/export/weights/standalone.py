"""A recipe's network as one Python file that needs torch only, cut from our own code so that it cannot differ."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import getsource
from pprint import pformat
from typing import Any

from afdctl.models.feature_classifier import FeatureClassifier, FeatureNorm
from afdctl.registry import ENCODERS

OURS = re.compile(r"^from (afdctl\.models\.\w+) import .*\n", re.MULTILINE)

HEAD = '''"""{name}: a network trained by afdctl, without afdctl. Images (n, c, h, w) in [0, 1] to logits.

{use}
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

METADATA = {metadata}


class CorruptError(ValueError):
    """The weights are of a network with another feature normalisation."""
'''

BUILD = '''
def build() -> nn.Module:
    """The network, its weights still random."""
    encoder, features = {encoder}(channels={channels}, image_size={image_size}, width={width})
    return FeatureClassifier(encoder, features, {classes}, "{norm}").eval()
'''


def source(name: str, facts: Mapping[str, Any], use: str, end: str = "") -> str:
    """The file: metadata, the architecture's classes, `build()`, and `end`; `use` says in words what to do with it."""
    module, maker = ENCODERS[facts["encoder"]].split(":")
    channels, image_size, _ = facts["input_shape"]
    made = BUILD.format(
        encoder=maker,
        channels=channels,
        image_size=image_size,
        width=facts["width"],
        classes=len(facts["class_names"]),
        norm=facts["feature_norm"],
    )
    head = HEAD.format(name=name, use=use, metadata=pformat(dict(facts), sort_dicts=False, width=110))
    layers = [*_modules("afdctl.models.precision"), getsource(FeatureNorm), getsource(FeatureClassifier)]
    return "\n\n".join(part.strip("\n") + "\n" for part in [head, *_modules(module), *layers, made, end] if part)


def _modules(name: str) -> Iterator[str]:
    """The text of a module of ours, after those that it imports."""
    text = getsource(import_module(name))
    for used in OURS.findall(text):
        yield from _modules(used)
    yield OURS.sub("", text)
