import numpy as np
import torch
from sklearn.datasets import load_digits

from afdctl.data import Dataset, ImageTensors, load


def test_digits_are_embedded_and_split_evenly():
    source = load("digits", None)
    assert source.train.x.shape == (1437, 1, 8, 8)
    assert source.test.x.shape == (360, 1, 8, 8)
    assert source.train.x.dtype == torch.uint8
    assert source.train.y.dtype == torch.int64
    counts = torch.bincount(source.test.y)
    assert (counts.min(), counts.max()) == (35, 37)


def test_digits_are_all_there_with_sixteen_as_white():
    source = load("digits", None)
    x = torch.cat([source.train.x, source.test.x]).flatten(1).numpy()
    expected = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, x)) == sorted(map(bytes, expected))
    assert x.max() == 255


def test_the_global_generators_are_unchanged():
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()
    load("digits", None)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == state).all()


def source_of(x, y, test_y=0):
    images = ImageTensors(torch.tensor(x, dtype=torch.uint8), torch.tensor(y))
    return Dataset(
        name="made up", train=images, test=ImageTensors(images.x[:1], torch.tensor([test_y])), classes=("a", "b")
    )


def test_the_digest_sees_pixels_labels_shapes_and_both_splits():
    pixels = [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]
    digests = {
        source_of(pixels, [0, 1]).digest,
        source_of(pixels, [0, 0]).digest,
        source_of(pixels, [0, 1], test_y=1).digest,
        source_of(torch.tensor(pixels).view(2, 1, 1, 4).tolist(), [0, 1]).digest,
        source_of([[[[1, 2], [3, 4]]], [[[5, 6], [7, 9]]]], [0, 1]).digest,
    }
    assert len(digests) == 5
    assert source_of(pixels, [0, 1]).digest in digests
    assert all(len(digest) == 64 for digest in digests)
