import shutil

import numpy as np
import pytest
from PIL import Image

from afdctl.data import load
from afdctl.errors import CorruptError, DataMissingError

COLOURS = {"apple": (200, 0, 0), "lime": (0, 200, 0)}


def paint(path, colour, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "fruit"
    for name, colour in COLOURS.items():
        for number, suffix in enumerate(("png", "bmp", "TIFF", "webp", "jpg", "jpeg")):
            paint(root / f"train/{name}/{number}.{suffix}", colour)
        for number in range(2):
            paint(root / f"test/{name}/{number}.png", colour)
    return root


def read(root, **keys):
    return load("folder", None, **{"image_size": 8, "path": root, **keys})


def test_classes_are_the_sorted_folders_and_all_formats_are_read(folder):
    source = read(folder)
    assert source.classes == ("apple", "lime")
    assert source.train.x.shape == (12, 3, 8, 8)
    assert source.test.x.shape == (4, 3, 8, 8)
    for split in (source.train, source.test):
        colours = np.array(list(COLOURS.values()))[split.y]
        assert abs(split.x.float().mean((2, 3)).numpy() - colours).max() < 5


def test_the_first_images_are_of_all_classes(folder):
    assert read(folder).test.y.tolist() == [0, 1, 0, 1]


def test_the_data_folder_itself_may_be_the_image_folder(folder):
    assert load("folder", folder, image_size=8).digest == read(folder).digest


def test_val_replaces_a_missing_test(folder):
    expected = read(folder).digest
    (folder / "test").rename(folder / "val")
    assert read(folder).digest == expected


def test_one_channel_is_grey(folder):
    x = read(folder, channels=1).train.x
    assert x.shape == (12, 1, 8, 8)
    assert abs(x[0].float().mean() - 0.299 * 200) < 2


def test_the_shorter_side_is_resized_and_the_centre_kept(folder):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (10, 20, 30)
    Image.fromarray(wide).save(folder / "test/apple/0.png")
    x = read(folder, image_size=40).test.x[0]
    assert x.shape == (3, 40, 40)
    # the middle square, but for the edge columns that the resize blends
    assert (x[:, :, 2:-2].permute(1, 2, 0).numpy() == (10, 20, 30)).all()


def test_a_broken_image_is_named(folder):
    path = folder / "train/lime/0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(CorruptError, match=f"^{path}: not a whole image"):
        read(folder)


def test_skipped_files_are_counted(folder):
    (folder / "train/lime/more/deep").mkdir(parents=True)
    for number in range(3):
        (folder / f"train/lime/{number}.{('png', 'bmp', 'TIFF')[number]}").rename(
            folder / f"train/lime/more/deep/{number}.png"
        )
    (folder / "train/apple/animated.gif").write_bytes(b"")
    (folder / "train/apple/nameless").write_bytes(b"")
    (folder / "test/labels.csv").write_text("")
    source = read(folder)
    assert len(source.train) == 9
    assert source.notes == (
        "skipped files whose names end in none of .bmp .jpeg .jpg .png .tif .tiff .webp: 2, such as "
        f"{folder}/train/apple/animated.gif",
        f"skipped images in subfolders of a class: 3, such as {folder}/train/lime/more/deep/0.png",
        f"skipped files that are in no class folder: 1, such as {folder}/test/labels.csv",
    )


def test_one_class_alone_is_refused(folder):
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "lime")
    with pytest.raises(CorruptError, match=r"train: only one class \(apple\): .* two or more$"):
        read(folder)


def test_a_class_whose_name_no_line_can_hold_is_refused(folder):
    for split in ("train", "test"):
        (folder / split / "lime").rename(folder / split / "li\nme")
    with pytest.raises(CorruptError, match=r"train: a class is named 'li\\nme': rename it"):
        read(folder)


def test_an_empty_class_is_named(folder):
    for path in (folder / "train/lime").iterdir():
        path.unlink()
    (folder / "train/lime/notes.txt").write_text("no image")
    with pytest.raises(CorruptError, match=f"^{folder}/train/lime: no images"):
        read(folder)


def test_a_class_in_one_split_only_is_named(folder):
    shutil.rmtree(folder / "test/lime")
    paint(folder / "test/pear/0.png", (1, 2, 3))
    with pytest.raises(CorruptError, match=r"not in both train/ and test/: lime, pear$"):
        read(folder)


def test_hidden_files_are_no_images_and_no_classes(folder):
    expected = read(folder).digest
    (folder / "train/.cache").mkdir()
    (folder / "train/lime/._0.png").write_bytes(b"left by a file manager")
    assert read(folder).digest == expected


def test_a_zip_must_be_unzipped_first(folder):
    path = shutil.make_archive(str(folder), "zip", folder)
    with pytest.raises(DataMissingError, match=f"unzip {path} first$"):
        read(path)
    with pytest.raises(DataMissingError, match=f"unzip {path} first$"):
        load("folder", folder.parent, image_size=8)


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path):
    with pytest.raises(DataMissingError, match=f"^{tmp_path}/nowhere: not an image folder with train/"):
        read(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_looks_for_its_images_in_every_place_and_a_new_training_in_one(folder, own_cache, monkeypatch):
    monkeypatch.setenv("AFDCTL_DATA", str(folder))
    emptied = folder.parent / "emptied"
    emptied.mkdir()
    arguments = {"image_size": 8, "path": emptied}
    assert load("folder", None, recorded=emptied, **arguments).digest == read(folder).digest
    own_cache.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(own_cache)
    assert load("folder", None, recorded=emptied, **arguments).digest == read(own_cache).digest
    with pytest.raises(DataMissingError, match=f"^{emptied}: not an image folder"):
        load("folder", None, **arguments)
