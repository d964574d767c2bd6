"""Odd image folders, made in `images/`: an odd file in a normal class, or an odd class."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8
Make = Callable[[Path], str | None]
"""Makes the folder; returns the name that a refusal must hold, or None where the folder must train."""
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    CASES[make.__name__] = make
    return make


def normal(images: Path, classes: tuple[str | bytes, ...] = ("a", "b"), each: int = 12) -> None:
    """Make images that are lighter from class to class."""
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            folder = os.path.join(os.fsencode(images / split), os.fsencode(name))
            os.makedirs(folder, exist_ok=True)
            for index in range(each):
                picture(index, label).save(os.path.join(folder, b"%d.png" % index))


def picture(index: int, label: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng([index, label]).integers(0, 128, (SIDE, SIDE, 3), np.uint8) + 64 * (label % 2)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def odd_file(images: Path, name: str = "x.png") -> Path:
    """Make normal classes; return the path for an odd file in one of them."""
    normal(images)
    return images / "train/a" / name


@case
def fifo(images: Path) -> str:
    os.mkfifo(odd_file(images))
    return "x.png"


@case
def link_to_a_device(images: Path) -> str:
    odd_file(images).symlink_to("/dev/zero")
    return "x.png"


@case
def endless_file(images: Path) -> str:
    with odd_file(images).open("wb") as file:
        file.truncate(1 << 40)
    return "x.png"


@case
def folder_called_png(images: Path) -> str:
    odd_file(images).mkdir()
    return "x.png"


@case
def link_to_itself(images: Path) -> str:
    odd_file(images).symlink_to("x.png")
    return "x.png"


@case
def text_called_png(images: Path) -> str:
    odd_file(images).write_text("no image")
    return "x.png"


@case
def empty_file(images: Path) -> str:
    odd_file(images).touch()
    return "x.png"


@case
def half_a_file(images: Path) -> str:
    path = odd_file(images)
    picture(0, 0).save(path)
    path.write_bytes(path.read_bytes()[:60])
    return "x.png"


@case
def bomb(images: Path) -> str:
    """A small file whose header claims 60,000 x 60,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    odd_file(images).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return "x.png"


@case
def sixteen_bits(images: Path) -> str:
    Image.fromarray(np.full((SIDE, SIDE), 40000, np.uint16)).save(odd_file(images))
    return "x.png"


@case
def alpha(images: Path) -> None:
    normal(images)
    for split in ("train", "test"):
        for index in range(4):
            picture(index, 1, "RGBA").save(images / split / "a" / f"alpha{index}.png")


@case
def exif(images: Path) -> None:
    about = Image.Exif()
    about[0x0112] = 6
    picture(0, 0).save(odd_file(images, "x.jpg"), exif=about)


@case
def other_modes(images: Path) -> None:
    path = odd_file(images)
    for mode, suffix in (("CMYK", "jpg"), ("P", "png"), ("1", "png"), ("L", "tif"), ("LA", "png")):
        picture(0, 0, mode).save(path.with_name(f"{mode}.{suffix}"))


@case
def odd_shapes(images: Path) -> None:
    path = odd_file(images)
    for width, height in ((1, 1), (1, 3000), (3000, 1)):
        Image.new("RGB", (width, height), (9, 9, 9)).save(path.with_name(f"{width}.png"))


@case
def one_class(images: Path) -> str:
    normal(images, ("a",))
    return "class"


@case
def empty_class(images: Path) -> str:
    normal(images)
    (images / "train/empty").mkdir()
    (images / "test/empty").mkdir()
    return "empty"


@case
def class_only_in_train(images: Path) -> str:
    normal(images)
    (images / "train/c").mkdir()
    picture(0, 0).save(images / "train/c/0.png")
    return "c"


@case
def no_test(images: Path) -> str:
    normal(images)
    (images / "test").rename(images / "elsewhere")
    return "images"


@case
def subfolders(images: Path) -> None:
    path = odd_file(images, "deeper")
    path.mkdir()
    picture(0, 0).save(path / "0.png")


@case
def many_classes(images: Path) -> None:
    normal(images, tuple(f"class{index:04}" for index in range(1500)), each=1)


@case
def newline_in_a_class(images: Path) -> str:
    normal(images, ("a\nerror: b", "c"))
    return "is named"


@case
def escapes_in_a_class(images: Path) -> str:
    normal(images, ("\x1b[31mred\x1b]0;title\x07", "c"))
    return "red"


@case
def escapes_in_a_broken_file(images: Path) -> str:
    odd_file(images, "\x1b[2Jx.png").write_text("no image")
    return "x.png"


@case
def class_that_is_not_utf8(images: Path) -> str:
    normal(images, (b"caf\xe9", "c"))
    return "caf"


@case
def broken_file_that_is_not_utf8(images: Path) -> str:
    path = os.path.join(os.fsencode(odd_file(images).parent), b"caf\xe9.png")
    with open(path, "wb") as file:
        file.write(b"no image")
    return "caf"


@case
def awkward_names(images: Path) -> None:
    normal(images, ("-a", "b:c", "d e", "~"))


@case
def capital_suffix(images: Path) -> None:
    picture(0, 0).save(odd_file(images, "X.PNG"))
