"""Test augmentation: which variants of an image exist, their labels, and whose random numbers are drawn."""

import pytest
import torch

from afdctl.data.augment import ERASED_AREA, Augmentation, crop, erase

IMAGES = torch.arange(6 * 3 * 16 * 16).view(6, 3, 16, 16) % 251 + 1
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_augmentation(**settings):
    return Augmentation(**settings, classes=4, generator=seeded(1), mix_generator=seeded(2))


def test_without_augmentation_a_batch_is_unchanged():
    x, y = make_augmentation()(IMAGES, LABELS)
    assert x is IMAGES
    assert y is LABELS


@pytest.mark.parametrize(("padding", "flip", "count"), [(4, True, 162), (4, False, 81), (2, False, 25)])
def test_a_crop_makes_all_variants_of_an_image_and_no_other(padding, flip, count):
    image = torch.randint(1, 256, (1, 3, 6, 5), dtype=torch.uint8, generator=seeded(0))
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    places = range(2 * padding + 1)
    crops = [padded[0, :, i : i + 6, j : j + 5] for i in places for j in places]
    variants = [*crops, *(image.flip(2) for image in crops)] if flip else crops
    expected = {variant.contiguous().numpy().tobytes() for variant in variants}
    got = crop(image.expand(5000, -1, -1, -1), seeded(0), padding=padding, flip=flip)
    assert len(expected) == count
    assert {x.numpy().tobytes() for x in got} == expected


def test_a_batch_is_cropped_as_its_recipe_says(monkeypatch):
    used = []
    monkeypatch.setattr("afdctl.data.augment.crop", lambda x, generator, **given: used.append(given) or x)
    for augment in ("none", "crop", "crop_flip"):
        make_augmentation(augment=augment)(IMAGES, LABELS)
    assert used == [{"padding": 4, "flip": False}, {"padding": 4, "flip": True}]


def test_a_crop_draws_for_each_image_and_batch():
    x = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(64, -1, -1, -1)
    generator = seeded(0)
    first, second = (crop(x, generator, padding=4, flip=True) for _ in range(2))
    assert len(first.flatten(1).unique(dim=0)) > 30
    assert not torch.equal(first, second)
    assert first.is_contiguous()


def test_erasing_blacks_out_one_rectangle_of_each_chosen_image():
    x = torch.full((4000, 3, 32, 32), 200, dtype=torch.uint8)
    erased = erase(x, seeded(0), 0.25) == 0
    assert torch.equal(erased[:, 0], erased[:, 2])
    areas = erased[:, 0].sum((1, 2))
    assert (areas > 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    # rectangles: as many pixels as their rows times their columns
    assert torch.equal(erased[:, 0].any(2).sum(1) * erased[:, 0].any(1).sum(1), areas)
    shares = areas[areas > 0] / 32**2
    assert shares.min() >= ERASED_AREA[0] - 0.01
    assert shares.max() <= ERASED_AREA[1] + 0.02
    assert shares.mean().item() == pytest.approx(sum(ERASED_AREA) / 2, abs=0.02)
    assert len(areas[areas > 0].unique()) > 100
    # every pixel can be erased
    assert erased.any(0).all()


@pytest.mark.parametrize("side", [8, 9])
def test_erasing_leaves_a_part_of_the_smallest_images(side):
    x = torch.ones(2000, 1, side, side)
    assert erase(x, seeded(0), 1.0).flatten(1).any(1).all()


def test_cutmix_mixes_labels_by_the_share_of_pixels():
    augmentation = make_augmentation(cutmix=1.0)
    x = torch.arange(1, 7).view(6, 1, 1, 1).expand(6, 3, 16, 16)
    before = torch.get_rng_state()
    shares = set()
    for _ in range(20):
        mixed, y = augmentation(x, LABELS)
        assert y.shape == (6, 4)
        torch.testing.assert_close(y.sum(1), torch.ones(6))
        for image, label, own, other in zip(mixed, y, range(6), [5, 0, 1, 2, 3, 4], strict=True):
            share = (image == own + 1).float().mean()
            assert set(image.unique().tolist()) <= {own + 1, other + 1}
            expected = share * torch.eye(4)[LABELS[own]] + (1 - share) * torch.eye(4)[LABELS[other]]
            torch.testing.assert_close(label, expected)
            shares.add(round(share.item(), 3))
    assert len(shares) > 10
    # torchvision draws from the global generator, which is lent and restored
    assert torch.equal(torch.get_rng_state(), before)


def test_cutmix_continues_its_generator():
    first, second = make_augmentation(cutmix=1.0), make_augmentation(cutmix=1.0)
    first(IMAGES, LABELS)
    second.mix_generator.set_state(first.mix_generator.get_state())
    torch.manual_seed(99)
    assert torch.equal(first(IMAGES, LABELS)[1], second(IMAGES, LABELS)[1])
