"""Decode image files in threads: to 8-bit pixels, fitted to a square and stacked into one tensor.

Pillow drops information silently, so each such case has a rule. An image whose pixels would depend on a choice
(transparency, more than 8 bits per channel, several frames) is refused with its name. What all viewers do alike (EXIF
orientation, CMYK as RGB) is done and reported.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from afdctl import paths
from afdctl.data.base import ImageTensors
from afdctl.errors import AfdctlError, CorruptError

# Pillow reads more formats, some with external programs (EPS with Ghostscript).
FORMATS: Final = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MODES: Final = ("1", "L", "P", "RGB", "RGBX", "LA", "PA", "RGBA", "YCbCr", "CMYK")
# The largest image file that is read.
MAX_FILE_BYTES: Final = 1 << 28
# EXIF's tag, its values for rotated or mirrored images, and TIFF's tag of the bits per channel.
ORIENTATION_TAG: Final = 0x0112
TRANSFORMED: Final = range(2, 9)
BITS_TAG: Final = 258
# The byte of a PNG header that has the bits per channel.
PNG_BIT_DEPTH: Final = 24
# Images per task of a thread; handing over a single small image costs as much as decoding it.
CHUNK: Final = 64

ROTATED: Final = "images rotated or mirrored as their EXIF orientation says"
FROM_CMYK: Final = "CMYK images read as RGB, without their colour profile"


class Remark(NamedTuple):
    """Something done to the data, or skipped in it, and the file concerned."""

    kind: str
    file: str


class ImageFile(NamedTuple):
    """An image that is not read yet: its class, its name for messages, and a function that returns its bytes."""

    label: int
    name: str
    read: Callable[[], bytes]

    @classmethod
    def from_path(cls, label: int, path: Path) -> "ImageFile":
        """Make one for a file on disk."""
        return cls(label, str(path), partial(paths.read, path, MAX_FILE_BYTES))


class Decoded(NamedTuple):
    """Images of one size, and the remarks to report."""

    images: ImageTensors
    remarks: list[Remark]


def decode(image_files: Sequence[ImageFile], side: int, channels: int) -> Decoded:
    """Read images as (n, channels, side, side); resize the shorter side (bilinear, antialiased), crop the longer one.

    Error: CorruptError names an image that cannot be decoded, or only with a choice that is the user's.
    """
    x = np.empty((len(image_files), channels, side, side), np.uint8)
    # entries are replaced, never changed, so they may share one list
    remarks: list[list[Remark]] = [[]] * len(image_files)

    def decode_chunk(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(image_files))):
            x[index], remarks[index] = _decode_image(image_files[index], side, channels)

    # Pillow releases the interpreter lock while it decodes
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # pillow warns above 89 million pixels and raises above twice as many; raise for both
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        list(pool.map(decode_chunk, range(0, len(image_files), CHUNK)))
    images = ImageTensors(torch.from_numpy(x), torch.tensor([file.label for file in image_files]))
    return Decoded(images, [remark for image_remarks in remarks for remark in image_remarks])


def count_remarks(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """Format one line per kind of remark: the count and the first file."""
    files = defaultdict(list)
    for remark in remarks:
        files[remark.kind].append(remark.file)
    return tuple(f"{kind}: {len(names):,}, such as {names[0]}" for kind, names in files.items())


def _decode_image(file: ImageFile, side: int, channels: int) -> tuple[NDArray[Any], list[Remark]]:
    """Return one image as (channels, side, side), and remarks on it."""
    try:
        data = file.read()
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if reason := _refusal(image, data):
                raise CorruptError(f"{file.name}: {reason}")
            transformed = image.getexif().get(ORIENTATION_TAG, 1) in TRANSFORMED
            remarks = [Remark(ROTATED, file.name)] if transformed else []
            remarks += [Remark(FROM_CMYK, file.name)] if image.mode == "CMYK" else []
            upright = ImageOps.exif_transpose(image) if transformed else image
            pixels = upright.convert("L" if channels == 1 else "RGB")
    except (AfdctlError, MemoryError):
        raise
    except Exception as error:
        # decoders raise all kinds of exceptions on damaged files
        raise CorruptError(f"{file.name}: {_describe(error)}: replace it") from error
    fitted = ImageOps.fit(pixels, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(side, side, channels).transpose(2, 0, 1), remarks


def _refusal(image: Image.Image, data: bytes) -> str | None:
    """Say why converting an opened image to 8-bit RGB would lose or invent pixels; None if it would not."""
    if image.mode.startswith(("I", "F")) or _bits_per_channel(image, data) > 8:
        # pillow clips a single 16-bit channel to 255, and drops the lower 8 bits of three channels
        return "more than 8 bits a channel: convert it to 8 bits"
    if image.mode not in MODES:
        return f"its pixels are {image.mode}: convert it to RGB"
    # the additional frames of a phone's JPEG (MPO) are previews and depth maps
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        return f"{frames} frames: keep one of them"
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        return "has transparent pixels; composite it onto a background colour first"
    return None


def _bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Return the bits per channel in the file; the mode of an opened image does not show them."""
    if image.format == "PNG":
        return data[PNG_BIT_DEPTH]
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(BITS_TAG, (8,))
    return max(bits)


def _describe(error: Exception) -> str:
    """Say what is wrong with a file that could not be read or decoded."""
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels"
    # pillow's own OSErrors have no errno
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read ({error.strerror})"
    return f"not a whole image ({', '.join(FORMATS)})"
