from dataclasses import replace

import pytest
import torch

from afdctl.data import ImageTensors
from afdctl.data.augment import Augmentation
from afdctl.data.loader import Sampler, Split, as_floats, batches, hold_out
from afdctl.errors import RecipeError


def numbered(n, shape=(1, 2, 2)):
    """Return images whose label and pixels are their index."""
    y = torch.arange(n)
    return ImageTensors(y.to(torch.uint8).view(-1, 1, 1, 1).expand(n, *shape).contiguous(), y)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def sampler(n=10, batch_size=4, shape=(1, 2, 2), rows=None, extra=None, extra_share=0.0, mapped=False, **augmented):
    rows = torch.arange(n) if rows is None else rows
    images = replace(numbered(n, shape), mapped=mapped)
    return make_sampler(images, rows, batch_size, extra=extra, extra_share=extra_share, **augmented)


def make_sampler(images, rows, batch_size, *, device="cpu", extra=None, extra_share=0.0, **augmented):
    shuffle, generator = (torch.Generator(device).manual_seed(seed) for seed in (1, 2))
    return Sampler(
        images,
        rows=rows,
        device=device,
        batch_size=batch_size,
        augment=Augmentation(classes=256, generator=generator, mix_generator=seeded(3), **augmented),
        shuffle_generator=shuffle,
        extra=extra,
        extra_share=extra_share,
    )


def generators_of(source):
    return source.shuffle_generator, source.augment.generator, source.augment.mix_generator


def epoch_labels(source):
    labels = [source.next()[1] for _ in range(source.steps_per_epoch)]
    return torch.cat(labels).tolist()


def test_hold_out_splits_without_loss_and_by_seed():
    rest, held = hold_out(20, 5, seed=3)
    assert (len(rest), len(held)) == (15, 5)
    assert sorted(torch.cat([rest, held]).tolist()) == list(range(20))
    assert torch.equal(hold_out(20, 5, seed=3)[1], held)
    assert not torch.equal(hold_out(20, 5, seed=4)[1], held)


def test_a_training_limit_keeps_the_first_images_after_the_hold_out():
    rest, held = hold_out(20, 5, seed=3)
    few, same = hold_out(20, 5, seed=3, train_limit=4)
    assert torch.equal(few, rest[:4])
    assert torch.equal(same, held)
    assert len(hold_out(20, 5, seed=3, train_limit=15)[0]) == 15
    with pytest.raises(RecipeError, match=r"data\.train_limit = 16: only 15 training images are not held out"):
        hold_out(20, 5, seed=3, train_limit=16)


def test_hold_out_leaves_the_global_generator():
    before = torch.get_rng_state()
    hold_out(20, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [20, 21])
def test_hold_out_must_leave_training_images(count):
    with pytest.raises(RecipeError, match=f"holdout = {count}: only 20 training images"):
        hold_out(20, count, seed=0)


def test_as_floats_spans_zero_to_one():
    x = as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.tensor([0.0, 0.2, 1.0]), rtol=0, atol=1e-7)
    assert torch.equal(as_floats(torch.tensor([0.25, 1], dtype=torch.float64)), torch.tensor([0.25, 1]))


def test_batches_keep_the_order_and_the_rest():
    got = list(batches(Split(numbered(5), "cpu"), 2))
    assert [y.tolist() for _, y in got] == [[0, 1], [2, 3], [4]]
    assert [x[0, 0, 0, 0].item() * 255 for x, _ in got] == pytest.approx([0, 2, 4])


def test_parts_of_a_split():
    split = Split(numbered(5), "cpu")
    assert split.head(2).y.tolist() == [0, 1]
    assert split.select(torch.tensor([3, 1])).y.tolist() == [3, 1]
    assert len(split.to("cpu")) == 5


def test_a_last_batch_of_one_image_is_left_out():
    source = sampler(n=9)
    assert source.steps_per_epoch == 2
    labels = epoch_labels(source)
    assert len(labels) == len(set(labels)) == 8


def test_an_epoch_visits_each_image_once_in_a_new_order():
    source = sampler()
    assert source.steps_per_epoch == 3
    first = epoch_labels(source)
    assert (source.epoch, source.batch) == (0, 3)
    source.start_epoch()
    assert (source.epoch, source.batch) == (1, 0)
    second = epoch_labels(source)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_last_batch_is_partial_and_x_belongs_to_y():
    source = sampler()
    sizes = []
    for _ in range(3):
        x, y = source.next()
        sizes.append(len(y))
        torch.testing.assert_close(x[:, 0, 0, 0] * 255, y.float())
    assert sizes == [4, 4, 2]


def test_next_continues_after_an_epoch():
    source = sampler()
    epoch_labels(source)
    source.next()
    assert (source.epoch, source.batch) == (1, 1)


ALL_AUGMENTATIONS = {"augment": "crop_flip", "random_erasing": 0.5, "cutmix": 1.0}


@pytest.mark.parametrize("steps", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("generators_first", [True, False])
def test_resume_is_bit_identical(steps, generators_first):
    settings = {"shape": (3, 8, 8), "extra": numbered(7, (3, 8, 8)), "extra_share": 0.5, **ALL_AUGMENTATIONS}
    straight = sampler(**settings)
    for _ in range(steps):
        straight.next()
    state = straight.state_dict()
    saved = [generator.get_state() for generator in generators_of(straight)]

    resumed = sampler(**settings)
    resumed.next()
    if not generators_first:
        resumed.load_state_dict(state)
    for generator, its_state in zip(generators_of(resumed), saved, strict=True):
        generator.set_state(its_state)
    if generators_first:
        resumed.load_state_dict(state)

    assert (resumed.epoch, resumed.batch) == (straight.epoch, straight.batch)
    for _ in range(7):
        for expected, got in zip(straight.next(), resumed.next(), strict=True):
            assert torch.equal(expected, got)


def test_loading_leaves_all_generators():
    source = sampler(**ALL_AUGMENTATIONS)
    source.next()
    state = source.state_dict()
    source.next()
    before = [generator.get_state() for generator in generators_of(source)]
    source.load_state_dict(state)
    for generator, its_state in zip(generators_of(source), before, strict=True):
        assert torch.equal(generator.get_state(), its_state)


def test_only_the_rows_are_trained_on_also_from_a_mapped_file():
    rows = torch.tensor([8, 1, 5, 2, 6, 0])
    batches_of = [[sampler(rows=rows, mapped=mapped).next() for _ in range(3)] for mapped in (False, True)]
    assert sorted(epoch_labels(sampler(rows=rows))) == [0, 1, 2, 5, 6, 8]
    for (x, y), (mapped_x, mapped_y) in zip(*batches_of, strict=True):
        assert torch.equal(x, mapped_x)
        assert torch.equal(y, mapped_y)


def test_a_share_of_each_batch_is_extra():
    extra = ImageTensors(torch.full((3, 1, 2, 2), 0.5), torch.tensor([100, 101, 102]))
    source = sampler(n=10, batch_size=4, extra=extra, extra_share=0.7)
    # as many steps as without, and half a level of rounding in the last batch of two
    assert source.steps_per_epoch == 3
    seen = [source.next() for _ in range(3)]
    assert [(y >= 100).sum().item() for _, y in seen] == [3, 3, 1]
    for x, y in seen:
        assert torch.equal(x[y >= 100], torch.full_like(x[y >= 100], 0.5))
        torch.testing.assert_close(x[y < 100][:, 0, 0, 0] * 255, y[y < 100].float())
    own = [label for _, y in seen for label in y.tolist() if label < 100]
    assert len(set(own)) == len(own) == 3
    assert {label for _ in range(9) for label in source.next()[1].tolist() if label >= 100} == {100, 101, 102}


def test_the_state_survives_a_weights_only_load(tmp_path):
    source = sampler()
    source.next()
    torch.save(source.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state.keys() == {"epoch", "batch", "shuffle"}
    assert (state["epoch"], state["batch"]) == (0, 1)


@pytest.mark.gpu
def test_sampling_never_synchronises_with_the_device():
    images = numbered(64, (3, 32, 32))
    augmented = {"augment": "crop_flip", "random_erasing": 0.5}
    source = make_sampler(images, torch.arange(64), 16, device="cuda", extra=images, extra_share=0.5, **augmented)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(9):
            x, y = source.next()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (x.device.type, y.device.type) == ("cuda", "cuda")


@pytest.mark.gpu
def test_mapped_images_reach_the_device():
    images = replace(numbered(64, (3, 32, 32)), mapped=True)
    source = make_sampler(images, torch.arange(64), 16, device="cuda", cutmix=1.0)
    x, y = source.next()
    assert (source.split.x.device.type, x.device.type, y.device.type) == ("cpu", "cuda", "cuda")
