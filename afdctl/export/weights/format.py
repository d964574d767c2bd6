"""The contract of a format: what it is given, and how it is written and read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Files = Mapping[str, bytes]
"""Contents by path, relative to the folder they go to; the weights come first."""
Logits = Callable[[Tensor], Tensor]
"""From images (n, c, h, w) in [0, 1] to logits (n, classes)."""


@dataclass(frozen=True)
class Exported:
    """A network on the CPU in evaluation mode; `x` float32 (n, c, h, w) are the test images it is checked on.

    `name` is the file's without its extension, `about` what a reader must know: strings, numbers, and lists of them.
    """

    name: str
    network: nn.Module
    x: Tensor
    about: dict[str, Any]


@dataclass(frozen=True)
class Format:
    """`pack` writes, and `unpack` reads with the format's own library, knowing nothing but the files.

    `pack` raises RecipeError for a network that the format cannot hold. `needs` are modules of the optional `extra`.
    """

    pack: Callable[[Exported], Files]
    unpack: Callable[[Files], Logits]
    needs: tuple[str, ...] = ()
    extra: str = ""
