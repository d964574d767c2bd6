"""Test which images are evaluated."""

import numpy as np
import torch

from afdctl.data.subset import Subset


def test_a_sample_is_what_the_documentation_says():
    """The rule lets other programs evaluate the same images, so it must never change."""
    chosen = Subset.of(10_000, limit=1000)
    assert chosen == Subset("sample", 1000, 10_000)
    assert chosen.index.tolist() == np.random.RandomState(0).permutation(10_000)[:1000].tolist()
    assert chosen.index[:5].tolist() == [9394, 898, 2398, 5906, 2343]
    assert len(chosen.index.unique()) == 1000


def test_a_smaller_sample_begins_a_larger_one():
    large, small = (Subset.of(360, limit=n).index for n in (200, 50))
    assert torch.equal(large[:50], small)


def test_the_first_images_and_all_of_them():
    assert Subset.of(360, first=3).index.tolist() == [0, 1, 2]
    assert {Subset.of(360), Subset.of(360, limit=360), Subset.of(360, first=999)} == {Subset("all", 360, 360)}
    assert Subset.of(360, limit=360).index.tolist() == list(range(360))


def test_the_images_are_distinguished_in_keys():
    assert len({Subset.of(360, **choice).key for choice in ({}, {"limit": 9}, {"first": 9}, {"limit": 10})}) == 4
