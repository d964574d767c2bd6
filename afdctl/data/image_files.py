"""Image files to tensors: decoded, fitted to a square and stacked, by threads.

One rule for each thing that pillow would do without a word. What leaves the choice of pixels to a user is refused by
name: transparency, more than 8 bits a channel, several frames. What viewers all do alike is done and reported:
orientation by EXIF, CMYK as RGB.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from afdctl import paths
from afdctl.data.base import ImageTensors
from afdctl.errors import AfdctlError, CorruptError

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MODES = ("1", "L", "P", "RGB", "RGBX", "LA", "PA", "RGBA", "YCbCr", "CMYK")
FILE_BYTES = 1 << 28
"""The largest image file that is read."""
ORIENTATION = 0x0112
"""EXIF's tag."""
BITS = 258
"""TIFF's tag of the bits of each channel."""
CHUNK = 64
"""Images that a thread decodes at a time: handing over a small image costs as much as decoding it."""

TURNED = "images turned upright, as their EXIF says and viewers show them"
PRINTED = "CMYK images read as RGB, without their colour profile"


class Remark(NamedTuple):
    """What was done to, or left out of, the data without being asked, and the file it is about."""

    what: str
    where: str


class ImageFile(NamedTuple):
    """An image that is not read yet: its class, its name for messages, and its bytes."""

    label: int
    where: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, label: int, path: Path) -> "ImageFile":
        """The picture in a file of its own."""
        return cls(label, str(path), partial(paths.read, path, FILE_BYTES))


class Decoded(NamedTuple):
    """Images of one size, and what there is to report about them."""

    images: ImageTensors
    remarks: list[Remark]


def decode(pictures: Sequence[ImageFile], side: int, channels: int) -> Decoded:
    """Images of `side` pixels: the shorter side resized (bilinear, antialiased), the longer one centre-cropped.

    CorruptError names a picture that cannot be decoded, or not without a choice that is the user's.
    """
    x = np.empty((len(pictures), channels, side, side), np.uint8)
    remarks: list[list[Remark]] = [[]] * len(pictures)

    def fill(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(pictures))):
            x[index], remarks[index] = _pixels(pictures[index], side, channels)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # over 89 million pixels pillow warns, over twice as many it raises
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        list(pool.map(fill, range(0, len(pictures), CHUNK)))
    images = ImageTensors(torch.from_numpy(x), torch.tensor([picture.label for picture in pictures]))
    return Decoded(images, [remark for each in remarks for remark in each])


def count_remarks(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """One line for each kind of remark: how many there are, and the first file."""
    wheres = defaultdict(list)
    for what, where in remarks:
        wheres[what].append(where)
    return tuple(f"{what}: {len(found):,}, such as {found[0]}" for what, found in wheres.items())


def _pixels(picture: ImageFile, side: int, channels: int) -> tuple[NDArray[Any], list[Remark]]:
    """One image as (channels, side, side), and what was done to it."""
    try:
        data = picture.read()
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if reason := _refusal(image, data):
                raise CorruptError(f"{picture.where}: {reason}")
            turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
            done = [Remark(TURNED, picture.where)] * turned + [Remark(PRINTED, picture.where)] * (image.mode == "CMYK")
            upright = ImageOps.exif_transpose(image) if turned else image
            plain = upright.convert("L" if channels == 1 else "RGB")
    except (AfdctlError, MemoryError):
        raise
    except Exception as error:
        # decoders raise whatever a wrong byte leads to
        raise CorruptError(f"{picture.where}: {_reason(error)}: replace it") from error
    fitted = ImageOps.fit(plain, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(side, side, channels).transpose(2, 0, 1), done


def _refusal(image: Image.Image, data: bytes) -> str | None:
    """Why pixels of an opened image would be lost or made up; None where they are not."""
    if image.mode.startswith(("I", "F")) or _bits(image, data) > 8:
        # pillow clips one channel of 16 bits to 255, and cuts the lower 8 bits of three off
        return "more than 8 bits a channel: convert it to 8 bits"
    if image.mode not in MODES:
        return f"its pixels are {image.mode}: convert it to RGB"
    # the further pictures of a phone's JPEG (MPO) are previews and depth maps
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        return f"{frames} frames: keep one of them"
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        return "has transparent pixels; composite it onto a background colour first"
    return None


def _bits(image: Image.Image, data: bytes) -> int:
    """The bits of a channel in the file, which the mode of an opened image does not show."""
    if image.format == "PNG":
        return data[24]  # of the header, which comes first
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(BITS, (8,))
    return max(bits)


def _reason(error: Exception) -> str:
    """What is wrong with a file, from what reading or decoding it raised."""
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels"
    # pillow's own OSErrors have no number
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({error.strerror})"
    return f"not a whole image ({', '.join(FORMATS)})"
