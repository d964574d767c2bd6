import shutil
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from afdctl.data import load
from afdctl.data.tiny_imagenet import TinyImageNet
from afdctl.errors import CorruptError, DataMissingError

# not sorted, so that the order of wnids.txt shows
WNIDS = {"n03": (250, 0, 0), "n01": (0, 250, 0), "n02": (0, 0, 250)}
VAL = {"val_0.JPEG": "n01", "val_1.JPEG": "n03", "val_2.JPEG": "n02"}


def paint(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data" / "tiny-imagenet-200"
    for wnid, colour in WNIDS.items():
        for number in range(2):
            paint(root / f"train/{wnid}/images/{wnid}_{number}.JPEG", colour)
    for name, wnid in VAL.items():
        paint(root / "val/images" / name, WNIDS[wnid])
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "val/val_annotations.txt").write_text("".join(f"{n}\t{w}\t0\t0\t62\t62\n" for n, w in VAL.items()))
    return root


def zipped(folder, name="tiny-imagenet-200.zip", top="tiny-imagenet-200/"):
    """Replace the folder by an archive of it."""
    path = folder.parent / name
    with ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, top + file.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return path


def check(source, side=32):
    assert source.classes == tuple(WNIDS)
    assert source.train.x.shape == (6, 3, side, side)
    assert source.train.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.test.y.tolist() == [1, 0, 2]
    for split in (source.train, source.test):
        colours = np.array(list(WNIDS.values()))[split.y]
        assert abs(split.x.float().mean((2, 3)).numpy() - colours).max() < 5


def read(root, side=32):
    return load("tiny_imagenet", root, image_size=side)


def test_the_folder_is_read(folder):
    check(read(folder.parent))


def test_the_data_folder_may_be_the_data_set(folder):
    check(read(folder))


@pytest.mark.parametrize("name", ["tiny-imagenet-200.zip", "tiny-imagenet-3.zip", "subset.zip"])
@pytest.mark.parametrize("top", ["tiny-imagenet-200/", ""])
def test_a_zip_is_read_without_unpacking(folder, name, top):
    path = zipped(folder, name, top)
    check(read(path.parent))
    assert list(path.parent.iterdir()) == [path]


def test_any_folder_with_the_layout_is_read(folder):
    folder.rename(folder.with_name("mine"))
    ZipFile(folder.with_name("another.zip"), "w").close()
    check(read(folder.parent))


def test_without_a_size_images_keep_theirs(folder):
    check(read(folder.parent, side=None), side=64)


def test_resizing_is_antialiased(folder):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(folder / "val/images/val_0.JPEG", quality=100)
    x = read(folder.parent, side=16).test.x[0].float()
    assert abs(x[:, 2:-2, 2:-2] - 127.5).max() < 4


def test_a_broken_image_is_named(folder):
    path = folder / "train/n01/images/n01_1.JPEG"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match=f"^{path}: "):
        read(folder.parent)


def test_a_broken_image_in_a_zip_is_named(folder):
    path = folder / "train/n01/images/n01_1.JPEG"
    path.write_bytes(b"broken")
    archive = zipped(folder)
    with pytest.raises(CorruptError, match=f"^{archive}/train/n01/images/n01_1.JPEG: "):
        read(archive.parent)


def test_a_truncated_zip_is_named_and_not_overlooked(folder):
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match=f"^{path}: not a whole zip"):
        read(path.parent)


def test_a_class_without_images_is_named(folder):
    shutil.rmtree(folder / "train/n02")
    with pytest.raises(CorruptError, match="no training images of n02"):
        read(folder.parent)


def test_an_annotated_image_that_is_not_there_is_named(folder):
    (folder / "val/images/val_1.JPEG").unlink()
    with pytest.raises(CorruptError, match=r"val_1.JPEG: cannot be read \(No such file or directory\)"):
        read(folder.parent)


def test_a_class_without_validation_images_is_named(folder):
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn01\nval_1.JPEG\tn03\n")
    with pytest.raises(CorruptError, match=r"no validation images of n02: replace"):
        read(folder.parent)


@pytest.mark.parametrize("wnids", ["n01\n", "n01\nn02\nn01\n"])
def test_a_class_alone_or_named_twice_is_refused(folder, wnids):
    (folder / "wnids.txt").write_text(wnids)
    with pytest.raises(CorruptError, match=r"wnids.txt must name at least two classes, each once"):
        read(folder.parent)


@pytest.mark.parametrize("packed", [False, True])
def test_skipped_files_are_counted(folder, packed):
    paint(folder / "train/n04/images/n04_0.JPEG", (0, 0, 0))
    (folder / "train/n01/images/n01_2.png").write_bytes(b"")
    root = zipped(folder) if packed else folder
    assert read(folder.parent).notes == (
        f"skipped training files whose names do not end in .JPEG: 1, such as {root}/train/n01/images/n01_2.png",
        f"skipped training images whose class is not in wnids.txt: 1, such as {root}/train/n04/images/n04_0.JPEG",
    )


def test_annotations_of_other_classes_are_refused(folder):
    (folder / "wnids.txt").write_text("n01\nn02\n")
    with pytest.raises(CorruptError, match=r"val_annotations.txt does not fit wnids.txt"):
        read(folder.parent)


def test_without_annotations_the_file_is_named(folder):
    (folder / "val/val_annotations.txt").unlink()
    with pytest.raises(CorruptError, match=r"val/val_annotations.txt is missing"):
        read(folder.parent)


def test_another_zip_is_not_tiny_imagenet(tmp_path):
    with ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("readme.txt", "photos")
    assert TinyImageNet().find([tmp_path]) is None
    with pytest.raises(DataMissingError, match=r"tiny-imagenet-200.zip .* 90528d7ca1a48142e341f4ef8d21d0de"):
        read(tmp_path)
