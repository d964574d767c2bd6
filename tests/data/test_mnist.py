import gzip
import struct
from dataclasses import replace
from hashlib import md5

import numpy as np
import pytest

from afdctl.data import load, mnist, search_path
from afdctl.data.mnist import MNIST, FashionMNIST
from afdctl.errors import CorruptError, DataMissingError


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def fake(seed):
    """The unpacked content of four small idx files: 6 training and 4 test images."""
    numbers = np.random.default_rng(seed)
    splits = ((name, numbers.integers(0, 256, (n, 28, 28), np.uint8), n) for name, n in (("train", 6), ("t10k", 4)))
    return {
        f"{name}-{kind}": idx(array)
        for name, x, n in splits
        for kind, array in (("images-idx3-ubyte", x), ("labels-idx1-ubyte", np.arange(n, dtype=np.uint8)[::-1].copy()))
    } | {"t10k-labels-idx1-ubyte": idx(numbers.permutation(4).astype(np.uint8))}


DIGITS, CLOTHES = fake(0), fake(1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let the fakes pass for the published files."""
    for kind, content in ((MNIST, DIGITS), (FashionMNIST, CLOTHES)):
        digests = {name: md5(data).hexdigest() for name, data in content.items()}
        files = [replace(file, md5=digests[file.path.split("/")[-1].removesuffix(".gz")]) for file in kind.files]
        monkeypatch.setattr(kind, "files", tuple(files))
        monkeypatch.setitem(mnist.TEST_LABELS_MD5, kind.name, digests["t10k-labels-idx1-ubyte"])


def write(folder, content, packed=True, level=9):
    folder.mkdir(parents=True)
    for name, data in content.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data, level) if packed else data)
    return folder


def tree(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "folder", "content"),
    [
        ("mnist", "MNIST/raw", DIGITS),
        ("mnist", ".", DIGITS),
        ("fashion_mnist", "FashionMNIST/raw", CLOTHES),
        ("fashion_mnist", "fashion-mnist", CLOTHES),
        ("fashion_mnist", ".", CLOTHES),
    ],
)
def test_each_layout_is_read_and_nothing_is_written(tmp_path, name, folder, content, packed):
    root = tmp_path / "data"
    write(root / folder, content, packed)
    before = tree(tmp_path)
    source = load(name, root)
    assert tree(tmp_path) == before
    assert source.train.x.numpy().tobytes() == content["train-images-idx3-ubyte"][16:]
    assert source.train.x.shape == (6, 1, 28, 28)
    assert source.train.y.tolist() == [5, 4, 3, 2, 1, 0]
    assert source.test.y.tolist() == list(content["t10k-labels-idx1-ubyte"][8:])
    assert len(source.classes) == 10


def test_how_a_file_was_packed_does_not_matter(tmp_path):
    write(tmp_path / "a" / "MNIST/raw", DIGITS, level=1)
    write(tmp_path / "b" / "MNIST/raw", DIGITS, packed=False)
    digests = {load("mnist", tmp_path / name).digest for name in "ab"}
    assert len(digests) == 1


def altered(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[100] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def not_packed(path):
    path.write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize("damage", [altered, truncated, not_packed])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = write(tmp_path / "MNIST/raw", DIGITS) / "train-images-idx3-ubyte.gz"
    damage(path)
    with pytest.raises(CorruptError, match=f"^{path}: .*: replace it$"):
        load("mnist", tmp_path)


def test_a_damaged_label_file_in_a_flat_folder_is_named(tmp_path):
    path = write(tmp_path / "flat", DIGITS) / "t10k-labels-idx1-ubyte.gz"
    truncated(path)
    with pytest.raises(CorruptError, match=str(path)):
        load("mnist", tmp_path / "flat")


def test_the_other_data_set_in_a_flat_folder_is_not_taken_for_it(tmp_path):
    write(tmp_path / "flat", CLOTHES)
    assert MNIST().find([tmp_path / "flat"]) is None
    assert FashionMNIST().find([tmp_path / "flat"]) == str(tmp_path / "flat")


def test_without_network_the_message_says_what_goes_where(tmp_path, own_cache):
    folder = write(tmp_path / "data/MNIST/raw", DIGITS)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataMissingError) as raised:
        load("mnist", tmp_path / "data")
    message = str(raised.value)
    assert "no network in tests" in message
    assert f"MNIST/raw/t10k-images-idx3-ubyte.gz  1,648,877 bytes  unpacked md5 {MNIST.files[2].md5}" in message
    assert "train-labels" not in message
    assert str(tmp_path / "data") in message
    assert str(own_cache) in message
    assert "--data-dir" in message
    assert "AFDCTL_DATA" in message


def test_a_download_lands_in_the_first_folder_that_can_be_written(tmp_path, own_cache, monkeypatch):
    readonly = tmp_path / "readonly"
    readonly.write_text("not even a folder")

    def download(root, download):
        assert download
        write(root / "MNIST/raw", DIGITS)

    monkeypatch.setattr("torchvision.datasets.MNIST", download)
    assert load("mnist", readonly).train.y.tolist() == [5, 4, 3, 2, 1, 0]
    assert sorted(path.name for path in own_cache.rglob("*")) == sorted(["MNIST", "raw", *(f"{n}.gz" for n in DIGITS)])
    assert MNIST().find(search_path(None)) == str(own_cache / "MNIST/raw")
