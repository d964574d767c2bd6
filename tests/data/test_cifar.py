import pickle
import tarfile
import warnings
from dataclasses import replace
from hashlib import md5

import numpy as np
import pytest
from torchvision import datasets

from afdctl.data import load
from afdctl.data.cifar import CIFAR10, CIFAR100
from afdctl.errors import CorruptError, DataMissingError

# channels differ, so that a wrong order of the axes shows
PIXELS = np.arange(4 * 3 * 32 * 32, dtype=np.uint64).reshape(4, 3072).astype(np.uint8) // 2
BATCHES = {
    "data_batch_1": {"data": PIXELS[:2], "labels": [3, 1]},
    "data_batch_2": {"data": PIXELS[2:3], "labels": [0]},
    "test_batch": {"data": PIXELS[3:], "labels": [2]},
    "batches.meta": {"label_names": ["airplane", "automobile", "bird", "cat"]},
}


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    """A small cifar-10-batches-py that passes for the published one."""
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    digests = {}
    for name, batch in BATCHES.items():
        content = pickle.dumps(batch)
        (folder / name).write_bytes(content)
        digests[name] = md5(content).hexdigest()
    lists = {"train_list": ["data_batch_1", "data_batch_2"], "test_list": ["test_batch"]}
    for attribute, names in lists.items():
        monkeypatch.setattr(datasets.CIFAR10, attribute, [[name, digests[name]] for name in names])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder


@pytest.fixture
def archive(tmp_path, extracted, monkeypatch):
    path = tmp_path / "data" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(extracted, extracted.name)
    digest = md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "files", (replace(CIFAR10.files[0], md5=digest),))
    return path


def check(source):
    assert source.train.x.numpy().reshape(3, 3072).tolist() == PIXELS[:3].tolist()
    assert source.train.x.shape == (3, 3, 32, 32)
    assert source.train.y.tolist() == [3, 1, 0]
    assert source.test.y.tolist() == [2]
    assert source.classes == ("airplane", "automobile", "bird", "cat")


def test_the_extracted_folder_is_read(extracted, own_cache):
    check(load("cifar10", extracted.parent))
    assert not own_cache.exists()


def test_the_archive_is_unpacked_into_the_cache_only(archive, own_cache):
    check(load("cifar10", archive.parent))
    assert list(archive.parent.iterdir()) == [archive]
    assert [path.name for path in own_cache.iterdir()] == ["cifar-10-batches-py"]
    archive.write_bytes(b"never read again")
    check(load("cifar10", archive.parent))


def test_the_archive_is_unpacked_by_a_python_without_filters(archive, own_cache, monkeypatch):
    """Python 3.11.2, which Debian 12 has, knows neither `data_filter` nor extractall's `filter`."""
    extractall = tarfile.TarFile.extractall
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda archive, path: extractall(archive, path))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        check(load("cifar10", archive.parent))


def test_a_truncated_archive_is_named(archive):
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(CorruptError, match=f"^{archive}: its md5 is not"):
        load("cifar10", archive.parent)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_an_altered_batch_is_named_and_only_that(extracted, name):
    (extracted / name).write_bytes((extracted / name).read_bytes() + b"x")
    with pytest.raises(CorruptError, match=rf"missing or altered: {name} \(md5 \w+\): ") as raised:
        load("cifar10", extracted.parent)
    assert "data_batch_1" not in str(raised.value)


def test_without_network_the_message_names_the_archive(tmp_path):
    with pytest.raises(DataMissingError, match=r"cifar-10-python.tar.gz .* md5 c58f30108f718f92721af3b95e74349a"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(("ours", "upstream"), [(CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)])
def test_the_archives_are_torchvisions(ours, upstream):
    (file,) = ours.files
    assert (file.path, file.md5, file.url) == (upstream.filename, upstream.tgz_md5, upstream.url)
    assert ours.folder == upstream.base_folder
