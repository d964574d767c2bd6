import pytest
import torch

from afdctl.data import ImageTensors
from afdctl.data.loader import Sampler, Split, as_floats, batches, crop, hold_out
from afdctl.errors import RecipeError


def numbered(n, shape=(1, 2, 2)):
    """Return images whose label and pixels are their index."""
    y = torch.arange(n)
    return ImageTensors(y.to(torch.uint8).view(-1, 1, 1, 1).expand(n, *shape).contiguous(), y)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def sampler(n=10, batch_size=4, augment="none", shape=(1, 2, 2)):
    return make_sampler(Split(numbered(n, shape), "cpu"), batch_size, augment, seeded(1), seeded(2))


def make_sampler(split, batch_size, augment, shuffle_generator, augment_generator):
    return Sampler(
        split,
        batch_size=batch_size,
        augment=augment,
        crop_padding=4,
        shuffle_generator=shuffle_generator,
        augment_generator=augment_generator,
    )


def epoch_labels(source):
    labels = [source.next()[1] for _ in range(source.steps_per_epoch)]
    return torch.cat(labels).tolist()


def test_hold_out_splits_without_loss_and_by_seed():
    rest, held = hold_out(numbered(20), 5, seed=3)
    assert (len(rest), len(held)) == (15, 5)
    assert sorted(torch.cat([rest.y, held.y]).tolist()) == list(range(20))
    assert torch.equal(held.x[:, 0, 0, 0].long(), held.y)
    assert hold_out(numbered(20), 5, seed=3)[1].y.tolist() == held.y.tolist()
    assert hold_out(numbered(20), 5, seed=4)[1].y.tolist() != held.y.tolist()


def test_a_training_limit_keeps_the_first_images_after_the_hold_out():
    rest, held = hold_out(numbered(20), 5, seed=3)
    few, same = hold_out(numbered(20), 5, seed=3, train_limit=4)
    assert torch.equal(few.y, rest.y[:4])
    assert torch.equal(same.y, held.y)
    assert len(hold_out(numbered(20), 5, seed=3, train_limit=15)[0]) == 15
    with pytest.raises(RecipeError, match=r"data\.train_limit = 16: only 15 training images are not held out"):
        hold_out(numbered(20), 5, seed=3, train_limit=16)


def test_hold_out_leaves_the_global_generator():
    before = torch.get_rng_state()
    hold_out(numbered(20), 5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [20, 21])
def test_hold_out_must_leave_training_images(count):
    with pytest.raises(RecipeError, match=f"holdout = {count}: only 20 training images"):
        hold_out(numbered(20), count, seed=0)


def test_as_floats_spans_zero_to_one():
    x = as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.tensor([0.0, 0.2, 1.0]), rtol=0, atol=1e-7)


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


@pytest.mark.parametrize("steps", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("generators_first", [True, False])
def test_resume_is_bit_identical(steps, generators_first):
    straight = sampler(augment="crop_flip", shape=(3, 8, 8))
    for _ in range(steps):
        straight.next()
    state = straight.state_dict()
    generators = straight.shuffle_generator.get_state(), straight.augment_generator.get_state()

    resumed = sampler(augment="crop_flip", shape=(3, 8, 8))
    resumed.next()
    if not generators_first:
        resumed.load_state_dict(state)
    resumed.shuffle_generator.set_state(generators[0])
    resumed.augment_generator.set_state(generators[1])
    if generators_first:
        resumed.load_state_dict(state)

    assert (resumed.epoch, resumed.batch) == (straight.epoch, straight.batch)
    for _ in range(7):
        for expected, got in zip(straight.next(), resumed.next(), strict=True):
            assert torch.equal(expected, got)


def test_loading_leaves_both_generators():
    source = sampler(augment="crop_flip")
    source.next()
    state = source.state_dict()
    source.next()
    before = source.shuffle_generator.get_state(), source.augment_generator.get_state()
    source.load_state_dict(state)
    assert torch.equal(source.shuffle_generator.get_state(), before[0])
    assert torch.equal(source.augment_generator.get_state(), before[1])


def test_the_state_survives_a_weights_only_load(tmp_path):
    source = sampler()
    source.next()
    torch.save(source.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state.keys() == {"epoch", "batch", "shuffle"}
    assert (state["epoch"], state["batch"]) == (0, 1)


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


def test_the_sampler_crops_as_its_recipe_says(monkeypatch):
    used = []
    monkeypatch.setattr("afdctl.data.loader.crop", lambda x, generator, **given: used.append(given) or x)
    for augment in ("none", "crop", "crop_flip"):
        sampler(augment=augment).next()
    assert used == [{"padding": 4, "flip": False}, {"padding": 4, "flip": True}]


def test_a_crop_draws_for_each_image_and_batch():
    x = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(64, -1, -1, -1)
    generator = seeded(0)
    first, second = (crop(x, generator, padding=4, flip=True) for _ in range(2))
    assert len(first.flatten(1).unique(dim=0)) > 30
    assert not torch.equal(first, second)
    assert first.is_contiguous()


@pytest.mark.gpu
def test_sampling_never_synchronises_with_the_device():
    generators = [torch.Generator("cuda").manual_seed(seed) for seed in (1, 2)]
    source = make_sampler(Split(numbered(64, (3, 32, 32)), "cuda"), 16, "crop_flip", *generators)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(9):
            x, y = source.next()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (x.device.type, y.device.type) == ("cuda", "cuda")
