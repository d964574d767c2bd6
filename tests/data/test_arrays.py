"""Test data sets in files of arrays: every format and layout, memory mapping, and each mistake in one line."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from afdctl.data import array_images, load
from afdctl.data.arrays import load_extra
from afdctl.data.base import Dataset
from afdctl.data.loader import as_floats
from afdctl.errors import CorruptError, DataMissingError, NotFoundError

SIDE = 8


def images(count, seed=0, shape=(SIDE, SIDE, 3)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_arrays(**changed):
    """Return valid arrays of 12 training and 6 test images in 3 classes, some of them changed; None removes one."""
    arrays = {
        "x_train": images(12),
        "y_train": np.arange(12) % 3,
        "x_test": images(6, seed=1),
        "y_test": np.arange(6) % 3,
    }
    return {name: value for name, value in (arrays | changed).items() if value is not None}


def write(path, arrays, compressed=False):
    if path.suffix == ".npz":
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                file.create_dataset(name, data=value, compression="gzip" if compressed else None)
    return path


def read(path) -> Dataset:
    return load("arrays", None, path=path)


@pytest.fixture
def map_all(monkeypatch):
    """Map images of any size."""
    monkeypatch.setattr(array_images, "IN_MEMORY_BYTES", 0)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.h5", "A.HDF5"])
def test_every_format_holds_the_same_data_set(tmp_path: Path, name: str):
    arrays = make_arrays()
    dataset = read(write(tmp_path / name, arrays))
    assert (dataset.name, dataset.classes, dataset.notes) == ("arrays", ("0", "1", "2"), ())
    for split in ("train", "test"):
        tensors = getattr(dataset, split)
        assert tensors.x.dtype == torch.uint8
        assert np.array_equal(tensors.x.permute(0, 2, 3, 1), arrays[f"x_{split}"])
        assert np.array_equal(tensors.y, arrays[f"y_{split}"])


@pytest.mark.parametrize(
    "axes", [None, (0, 3, 1, 2), "grey"], ids=["channels last", "channels first", "no channel axis"]
)
def test_layouts(tmp_path: Path, axes):
    arrays = make_arrays()
    expected = torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2)
    for name in ("x_train", "x_test"):
        if axes == "grey":
            arrays[name] = arrays[name][..., 0]
        elif axes:
            arrays[name] = arrays[name].transpose(axes)
    x = read(write(tmp_path / "a.npz", arrays)).train.x
    assert torch.equal(x, expected[:, :1] if axes == "grey" else expected)
    assert x.is_contiguous()


def test_floats_of_256_levels_become_uint8_and_others_keep_their_values(tmp_path: Path):
    levels = images(12)
    for dtype in (np.float32, np.float64):
        exact = read(write(tmp_path / "a.npz", make_arrays(x_train=(levels / 255).astype(dtype))))
        assert exact.digest == read(write(tmp_path / "b.npz", make_arrays())).digest
    between = np.random.default_rng(0).random((12, SIDE, SIDE, 3))
    x = read(write(tmp_path / "a.npz", make_arrays(x_train=between))).train.x
    assert x.dtype == torch.float32
    assert np.array_equal(as_floats(x).permute(0, 2, 3, 1), between.astype(np.float32))
    half = read(write(tmp_path / "a.npz", make_arrays(x_train=between.astype(np.float16)))).train.x
    assert np.array_equal(half.permute(0, 2, 3, 1), between.astype(np.float16))


def test_labels_may_be_a_column_of_any_integers(tmp_path: Path):
    for dtype in (np.uint8, np.int16, ">i4", np.uint64, bool):
        labels = (np.arange(12) % 2).astype(dtype)[:, None]
        y = read(write(tmp_path / "a.npz", make_arrays(y_train=labels, y_test=np.arange(6) % 2))).train.y
        assert (y.dtype, y.tolist()) == (torch.int64, [0, 1] * 6)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.h5"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_large_images_are_mapped_and_give_the_same_pixels(tmp_path: Path, monkeypatch, name: str, dtype):
    pixels = images(12) if dtype == np.uint8 else np.random.default_rng(0).random((12, SIDE, SIDE, 3)).astype(dtype)
    path = write(tmp_path / name, make_arrays(x_train=pixels, extra=np.arange(5)))
    in_memory = read(path)
    monkeypatch.setattr(array_images, "IN_MEMORY_BYTES", pixels.nbytes - 1)
    mapped = read(path)
    assert (in_memory.train.mapped, mapped.train.mapped, mapped.test.mapped) == (False, True, False)
    assert torch.equal(as_floats(mapped.train.x[[3, 1]]), as_floats(in_memory.train.x[[3, 1]]))
    if dtype == np.uint8:
        assert mapped.digest == in_memory.digest


def test_arrays_in_fortran_order_are_mapped(tmp_path: Path, map_all):
    pixels = images(12)
    dataset = read(write(tmp_path / "a.npz", make_arrays(x_train=np.asfortranarray(pixels))))
    assert np.array_equal(dataset.train.x.permute(0, 2, 3, 1), pixels)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_compressed_images_are_read_and_refused_where_they_are_too_large(tmp_path: Path, monkeypatch, name: str):
    path = write(tmp_path / name, make_arrays(), compressed=True)
    assert read(path).digest == read(write(tmp_path / "plain.npz", make_arrays())).digest
    monkeypatch.setattr(array_images, "IN_MEMORY_BYTES", 100)
    with pytest.raises(CorruptError, match=r"x_train has 2\.3 kB and is compressed .* save it with numpy\.savez"):
        read(path)


def floats(value, image=7):
    x = np.zeros((12, SIDE, SIDE), np.float32)
    x[image, 2, 3] = value
    return x


BAD = {
    "missing array": ({"y_test": None}, "no array 'y_test' (it has: x_train, y_train, x_test)"),
    "labels from 1": ({"y_train": np.arange(12) % 3 + 1}, "y_train begins at 1: subtract 1"),
    "float labels": ({"y_train": np.arange(12) % 3 * 1.0}, "y_train has dtype float64: save class numbers"),
    "negative labels": ({"y_train": np.arange(12) % 3 - 1}, "y_train has the label -1: classes are numbered from 0"),
    "one-hot labels": ({"y_train": np.eye(3)[np.arange(12) % 3]}, "y_train has shape (12, 3); needed: (12,)"),
    "no label": ({"y_train": np.arange(11) % 3}, "y_train has shape (11,); needed: (12,), one label for each image"),
    "gaps": ({"y_train": np.arange(12) * 2}, "y_train has no image of 1, 3, 5"),
    "identifiers as labels": ({"y_train": np.arange(12) * 10**7}, "y_train has no image of 1, 2, 3"),
    "huge labels": ({"y_train": np.full(12, 2**63, np.uint64)}, "y_train has the label 9223372036854775808"),
    "one class": ({"y_train": np.zeros(12, int)}, "y_train has only one class"),
    "new class": (
        {"y_test": np.arange(6)},
        "y_test has the label 5, and the classes of the training images are 0 to 2",
    ),
    "int64 images": ({"x_train": images(12).astype(int)}, "x_train has dtype int64; needed: uint8"),
    "NaN": ({"x_train": floats(np.nan)}, "x_train has NaN or infinite values, first in image 7"),
    "infinity": ({"x_train": floats(np.inf)}, "x_train has NaN or infinite values, first in image 7"),
    "levels as floats": ({"x_train": floats(200)}, "from 0 to 200 in image 7: divide by 255, or save as uint8"),
    "normalised": ({"x_train": floats(-0.5)}, "x_train has values outside [0, 1], from -0.5 to 0 in image 7: undo"),
    "flat images": ({"x_train": images(12, shape=(192,))}, "x_train has shape (12, 192); needed: (n, h, w), "),
    "4 channels": ({"x_train": images(12, shape=(8, 8, 4))}, "x_train has shape (12, 8, 8, 4); needed: "),
    "oblong": ({"x_train": images(12, shape=(8, 9, 3))}, "x_train has images of 8 x 9 pixels: crop or resize"),
    "tiny": ({"x_train": images(12, shape=(4, 4, 3))}, "x_train has images of 4 pixels a side; allowed are 8 to 512"),
    "empty": ({"x_test": images(0), "y_test": np.zeros(0, int)}, "x_test has shape (0, 8, 8, 3): no images"),
    "two sizes": ({"x_test": images(6, shape=(9, 9, 3))}, "images of x_train are 3 x 8 x 8, those of x_test 3 x 9 x 9"),
    "long double": ({"x_train": floats(0.5).astype(np.longdouble)}, f"x_train has dtype {np.dtype(np.longdouble)}"),
    "complex": ({"x_train": images(12).astype(complex)}, "x_train has dtype complex128"),
}


@pytest.mark.parametrize(("changed", "message"), BAD.values(), ids=BAD)
def test_a_mistake_is_one_line(tmp_path: Path, changed, message: str):
    path = write(tmp_path / "a.npz", make_arrays(**changed))
    with pytest.raises(CorruptError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_python_objects_are_never_unpickled(tmp_path: Path):
    labels = np.array([Bomb(tmp_path / "exploded")] * 12)
    path = write(tmp_path / "a.npz", make_arrays(y_train=labels))
    with pytest.raises(CorruptError, match="y_train holds Python objects, which are not read: save it as numbers"):
        read(path)
    # an object array that is not needed does no harm
    assert len(read(write(tmp_path / "b.npz", make_arrays(meta=labels))).train) == 12
    (tmp_path / "c.npz").write_bytes(pickle.dumps(labels))
    with pytest.raises(CorruptError, match=r"c\.npz: not a \.npz file of arrays, or damaged"):
        read(tmp_path / "c.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.h5"])
def test_a_truncated_file_is_one_line(tmp_path: Path, name: str, map_all):
    path = write(tmp_path / name, make_arrays())
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(CorruptError, match=f"{name}: not a .* file of arrays, or damaged") as raised:
        read(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named_with_what_is_beside_it(tmp_path: Path):
    write(tmp_path / "a.npz", make_arrays())
    with pytest.raises(DataMissingError, match=r"not a file of arrays .* data\.path or --data-dir \(a\.npz\)"):
        read(tmp_path)
    with pytest.raises(DataMissingError, match=r"b\.npz: no such file"):
        read(tmp_path / "b.npz")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataMissingError, match=r"a\.txt: not a file of arrays"):
        read(tmp_path / "a.txt")


def test_images_that_cannot_be_meant_are_warned_about(tmp_path: Path):
    path = write(tmp_path / "a.npz", make_arrays(x_train=images(12) & 1, x_test=images(6) & 1))
    assert read(path).notes == (
        f"{path}: x_train is uint8 with no value above 1: read as 1 of 255; save images of 0 and 1 as floats",
        f"{path}: x_train contains 6 test images of 6",
    )


def test_extra_images_have_the_names_of_published_files(tmp_path: Path, map_all):
    dataset = read(write(tmp_path / "a.npz", make_arrays()))
    generated = {"image": images(9, seed=2), "label": np.arange(9) % 3}
    extra, notes = load_extra(write(tmp_path / "gen.npz", generated), dataset)
    assert (len(extra), extra.mapped, notes) == (9, True, ())
    assert np.array_equal(extra.x.permute(0, 2, 3, 1), generated["image"])


def test_extra_images_must_fit_the_data_set(tmp_path: Path):
    dataset = read(write(tmp_path / "a.npz", make_arrays()))
    with pytest.raises(CorruptError, match=r"images are 3 x 9 x 9, those of arrays 3 x 8 x 8"):
        load_extra(write(tmp_path / "b.npz", make_arrays(x_train=images(12, shape=(9, 9, 3)))), dataset)
    with pytest.raises(CorruptError, match="label has the label 3, and the classes of the training images are 0 to 2"):
        load_extra(write(tmp_path / "b.npz", {"image": images(4), "label": np.arange(4)}), dataset)
    with pytest.raises(NotFoundError, match=r"none\.npz: no such file; name a file of arrays with data\.extra"):
        load_extra(tmp_path / "none.npz", dataset)
    twins = {"image": dataset.test.x.permute(0, 2, 3, 1).numpy(), "label": dataset.test.y.numpy()}
    assert load_extra(write(tmp_path / "b.npz", twins), dataset)[1] == (
        f"{tmp_path / 'b.npz'}: image contains 6 test images of 6",
    )
