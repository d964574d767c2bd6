"""Test which image files are read, and which are refused."""

import os
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from socket import AF_UNIX, socket

import numpy as np
import pytest
from PIL import Image

from afdctl.data.image_files import ImageFile, count_remarks, decode
from afdctl.errors import CorruptError


def read(*paths):
    images, remarks = decode([ImageFile.from_path(0, path) for path in paths], side=16, channels=3)
    return images.x, count_remarks(remarks)


def png_of_16_bits():
    """A PNG of three channels of 16 bits, which pillow reads as 8 bits and does not write."""
    rows = b"\0" + bytes(16 * 6)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows * 16)) + chunk(b"IEND", b"")


def saved(image, kind, **options):
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def plain(mode, colour=0):
    return Image.new(mode, (16, 16), colour)


def palette():
    image = plain("P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    return image


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


REFUSED = {
    "grey of 16 bits": (
        lambda: saved(Image.fromarray(np.full((16, 16), 60_000, np.uint16)), "PNG"),
        "more than 8 bits",
    ),
    "colour of 16 bits": (png_of_16_bits, "more than 8 bits"),
    "floats": (lambda: saved(plain("F"), "TIFF"), "more than 8 bits"),
    "alpha": (lambda: saved(plain("RGBA", (0, 0, 0, 254)), "PNG"), "has transparent pixels"),
    "grey and alpha": (lambda: saved(plain("LA", (9, 0)), "PNG"), "has transparent pixels"),
    "palette": (lambda: saved(palette(), "PNG", transparency=0), "has transparent pixels"),
    "transparent grey": (lambda: saved(plain("L"), "PNG", transparency=0), "has transparent pixels"),
    "transparent colour": (lambda: saved(plain("RGB"), "PNG", transparency=(0, 0, 0)), "has transparent pixels"),
    "alpha of webp": (lambda: saved(plain("RGBA", (9, 9, 9, 0)), "WEBP", lossless=True), "has transparent pixels"),
    "Lab": (lambda: saved(plain("LAB"), "TIFF"), "its pixels are LAB"),
    "animation": (
        lambda: saved(plain("RGB"), "WEBP", save_all=True, append_images=[plain("RGB", 255)]),
        "2 frames: keep one",
    ),
    "pages": (lambda: saved(plain("L"), "TIFF", save_all=True, append_images=[plain("L")]), "2 frames: keep one"),
    "another format": (lambda: saved(plain("RGB"), "PPM"), "not a whole image (BMP, JPEG, PNG, TIFF, WEBP)"),
    "empty": (lambda: b"", "not a whole image"),
    "too many pixels": (lambda: saved(Image.new("1", (10_000, 9_000)), "PNG"), "more than 89,478,485 pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_would_lose_pixels_are_refused(tmp_path, case):
    make, message = REFUSED[case]
    path = tmp_path / "0.png"
    path.write_bytes(make())
    with pytest.raises(CorruptError, match=f"^{path}: {re.escape(message)}"):
        read(path)


READ = {
    "opaque alpha": (lambda: saved(plain("RGBA", (0, 200, 0, 255)), "PNG"), (0, 200, 0)),
    "a transparent colour that is not there": (
        lambda: saved(plain("RGB", (0, 200, 0)), "PNG", transparency=(1, 2, 3)),
        (0, 200, 0),
    ),
    "palette": (lambda: saved(palette(), "PNG"), (200, 0, 0)),
    "one bit": (lambda: saved(plain("1", 1), "PNG"), (255, 255, 255)),
    "grey": (lambda: saved(plain("L", 90), "PNG"), (90, 90, 90)),
    "CMYK": (lambda: saved(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
}


@pytest.mark.parametrize("case", READ)
def test_pixels_are_read(tmp_path, case):
    make, colour = READ[case]
    path = tmp_path / "0.png"
    path.write_bytes(make())
    x, notes = read(path)
    assert (x[0].permute(1, 2, 0).numpy() == colour).all()
    note = f"CMYK images read as RGB, without their colour profile: 1, such as {path}"
    assert notes == ((note,) if case == "CMYK" else ())


def test_images_are_rotated_by_exif_and_counted(tmp_path):
    half = np.zeros((16, 16, 3), np.uint8)
    half[:8] = 255
    paths = [tmp_path / "1.png", tmp_path / "3.png"]
    for path, value in zip(paths, (1, 3), strict=True):
        Image.fromarray(half).rotate(180 if value == 3 else 0).save(path, exif=orientation(value))
    x, notes = read(*paths)
    assert (x.permute(0, 2, 3, 1).numpy() == half).all()
    assert notes == (f"images rotated or mirrored as their EXIF orientation says: 1, such as {paths[1]}",)


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def socket_at(path):
    with socket(AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        listening.bind(path.name)
        os.chdir(here)


def large(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)


NO_FILES = {
    "is a pipe (FIFO), not a regular file": pipe,
    "is a device, not a regular file": endless,
    "is a socket, not a regular file": socket_at,
    "is a folder, not a regular file": Path.mkdir,
    "has 1,099,511,627,776 bytes; the limit is 268,435,456": large,
    "No such file or directory": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("reason", NO_FILES)
def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path, reason):
    path = tmp_path / "x.png"
    NO_FILES[reason](path)
    with pytest.raises(CorruptError, match=re.escape(f"{path}: cannot be read ({reason}): replace it")):
        read(path)
