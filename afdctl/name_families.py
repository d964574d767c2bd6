"""Built-in names of one form, such as `wrn-28-10`: what such a name says about the network."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

# the largest published are WRN-106-16 and WRN-28-20
MOST_LAYERS: Final = 1000
MOST_TIMES: Final = 100


class Family(NamedTuple):
    """Names that begin with `prefix`, such as `example`; `place` is where their function is.

    `arguments` returns its arguments for a name, or None for a wrong name, about which `form` is the message.
    """

    prefix: str
    example: str
    form: str
    place: str
    arguments: Callable[[str], Mapping[str, Any] | None]


def wide_resnet(name: str) -> Mapping[str, Any] | None:
    """Read `wrn-DEPTH-WIDEN`; every group has (depth - 4) / 6 blocks of two convolutions."""
    match = re.fullmatch(r"wrn-([1-9]\d{0,3})-([1-9]\d{0,3})(-silu)?", name)
    if match is None:
        return None
    depth, widen, activation = int(match[1]), int(match[2]), "silu" if match[3] else "relu"
    valid = 10 <= depth <= MOST_LAYERS and depth % 6 == 4 and widen <= MOST_TIMES
    return {"depth": depth, "widen": widen, "activation": activation} if valid else None


def timm_model(name: str) -> Mapping[str, Any] | None:
    """Read `timm:NAME`; timm itself knows whether it has the network."""
    # without timm's `hf-hub:` and `local-dir:`, and without the name of weights after a dot
    match = re.fullmatch(r"timm:(\w+)", name, re.ASCII)
    return match and {"name": match[1]}


WIDE_RESNET: Final = Family(
    prefix="wrn-",
    example="wrn-28-10",
    form="must be wrn-D-K with a depth D of 6n + 4 and K times the filters, such as wrn-28-10, wrn-34-10 or "
    "wrn-28-10-silu",
    place="afdctl.models.preact_resnet:wide_resnet",
    arguments=wide_resnet,
)
TIMM: Final = Family(
    prefix="timm:",
    example="timm:resnet18",
    form="must be timm:NAME with a name of timm.list_models(), such as timm:resnet18, without a tag of weights "
    "(model.weights names a file)",
    place="afdctl.models.timm_model:timm_model",
    arguments=timm_model,
)
