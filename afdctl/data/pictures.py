"""Image files to tensors: decoded, fitted to a square and stacked, by threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, NamedTuple
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from afdctl.data.dataset import Images
from afdctl.errors import CorruptError

# what pillow and zipfile raise for a damaged file or a name that is not in the archive
BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, BadZipFile, ZlibError, Image.DecompressionBombError)

# images that a thread decodes at a time: handing over a small image costs as much as decoding it
CHUNK = 64


class Picture(NamedTuple):
    """An image that is not read yet: its class, its name for messages, and its bytes."""

    label: int
    where: str
    read: Callable[[], bytes]


def decode(pictures: Sequence[Picture], side: int, channels: int) -> Images:
    """Images of `side` pixels: the shorter side resized (bilinear, antialiased), the longer one centre-cropped."""
    x = np.empty((len(pictures), channels, side, side), np.uint8)

    def fill(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(pictures))):
            x[index] = _pixels(pictures[index], side, channels)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, len(pictures), CHUNK)))
    return Images(torch.from_numpy(x), torch.tensor([picture.label for picture in pictures]))


def _pixels(picture: Picture, side: int, channels: int) -> NDArray[Any]:
    try:
        with Image.open(BytesIO(picture.read())) as image:
            # pillow would clip such pixels to 255 without a word
            if image.mode.startswith(("I", "F")):
                raise CorruptError(f"{picture.where}: more than 8 bits a channel: convert it to 8 bits")
            plain = image.convert("L" if channels == 1 else "RGB")
    except BROKEN as error:
        raise CorruptError(f"{picture.where}: missing or not a whole image: replace it") from error
    fitted = ImageOps.fit(plain, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(side, side, channels).transpose(2, 0, 1)
