"""Test learning rates and adversary over the steps of a training."""

from itertools import pairwise

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from afdctl.bench.flop_counter import PassCounter
from afdctl.models.feature_classifier import build
from afdctl.recipe import Recipe, load
from afdctl.training.adversary import Adversary
from afdctl.training.passes import passes_of_validation
from afdctl.training.schedule import (
    AdversarySchedule,
    LearningRateSchedule,
    ValidationSchedule,
    recipe_warnings,
)
from tests.conftest import short

PER_EPOCH = 5
UNION = ("attack.name=pgd", "attack.union.l2=0.7", "attack.union.l1=2")


def recipe_of(*overrides: str, name: str = "digits_wgan") -> Recipe:
    return short(name, "train.epochs=10", "train.milestones=[]", "attack.steps=20", *overrides)


def make_schedule(*overrides: str, name: str = "digits_wgan") -> AdversarySchedule:
    return AdversarySchedule(recipe_of(*overrides, name=name), PER_EPOCH)


def factors(*overrides: str) -> list[float]:
    schedule = LearningRateSchedule(recipe_of(*overrides).train, PER_EPOCH)
    return [schedule.factor(step) for step in range(10 * PER_EPOCH)]


def test_milestones_decay_the_learning_rate_from_the_next_epoch():
    values = factors("train.milestones=[4,8]")
    assert values == pytest.approx([1.0] * 20 + [0.1] * 20 + [0.01] * 10)


def test_one_cycle_rises_and_falls_in_equal_parts():
    values = factors("train.schedule=one_cycle", "train.warmup_fraction=0.3")
    assert values[:15] == pytest.approx([(step + 0.5) / 15 for step in range(15)])
    assert values[15:] == pytest.approx([(49.5 - step) / 35 for step in range(15, 50)])
    assert min(values) > 0


def test_a_cosine_falls_as_torchs_own_schedulers_do():
    """torch's at twice as many steps: ours is at the middle of a step."""
    values = factors("train.schedule=cosine", "train.warmup_fraction=0.2")
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    rise = LinearLR(optimizer, start_factor=1 / 20, end_factor=1.0, total_iters=19)
    fall = CosineAnnealingLR(optimizer, T_max=80)
    schedulers = SequentialLR(optimizer, [rise, fall], milestones=[20])
    expected = []
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedulers.step()
    # in the rise ours is (2 s + 1) / 20, which torch's reaches at its step 2 s; after it both are at 2 s + 1 of 100
    assert values[:10] == pytest.approx(expected[0:20:2])
    assert values[10:] == pytest.approx(expected[21::2])
    assert min(values) > 0


def test_every_schedule_has_a_warm_up():
    plain, warm = factors("train.milestones=[4,8]"), factors("train.milestones=[4,8]", "train.warmup_fraction=0.1")
    assert warm[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert warm[5:] == plain[5:]
    falling = factors("train.schedule=one_cycle", "train.warmup_fraction=0")
    assert falling == pytest.approx([(49.5 - step) / 50 for step in range(50)])
    assert factors("train.schedule=one_cycle") == factors("train.schedule=one_cycle", "train.warmup_fraction=0.3")


def test_the_learning_rate_grows_with_the_batch_size():
    assert factors("train.batch_size=512", "train.reference_batch_size=128") == [4.0] * 50
    plain = factors("train.schedule=one_cycle")
    assert factors("train.schedule=one_cycle", "train.reference_batch_size=512") == [factor / 2 for factor in plain]


def test_the_adversary_begins_with_n_fgsm_and_ramps_its_steps():
    schedule = make_schedule(
        "attack.n_fgsm_epochs=2", "attack.steps_warmup_epochs=3", "attack.name=pgd", "attack.step_size=0.02"
    )
    tables = [schedule.table(PER_EPOCH * epoch + 4) for epoch in range(10)]
    assert [(table.name, table.steps) for table in tables[:2]] == [("n_fgsm", 1)] * 2
    assert [(table.name, table.steps) for table in tables[2:6]] == [("pgd", steps) for steps in (5, 10, 15, 20)]
    assert tables[6:] == [schedule.recipe.attack] * 4
    assert [table.step_size for table in tables] == [None] * 2 + [0.02] * 8


@pytest.mark.parametrize(
    ("ramp", "steps"), [(0, [3] * 4), (1, [2, 3, 3, 3]), (5, [1, 1, 2, 2, 3, 3]), (3, [1, 2, 3, 3])]
)
def test_a_ramp_never_takes_fewer_than_one_step_nor_more_than_all(ramp: int, steps: list[int]):
    schedule = make_schedule(f"attack.steps_warmup_epochs={ramp}", "attack.steps=3")
    assert [schedule.table(PER_EPOCH * epoch).steps for epoch in range(len(steps))] == steps


def test_epsilon_grows_within_the_epochs_of_n_fgsm_too():
    schedule = make_schedule("attack.n_fgsm_epochs=2", "attack.epsilon_warmup_epochs=2", "attack.epsilon=0.1")
    assert [schedule.table(step).epsilon for step in (0, 4, 9, 10)] == pytest.approx([0.01, 0.05, 0.1, 0.1])


@pytest.mark.parametrize("overrides", [[], ["attack.n_fgsm_epochs=2", "attack.steps_warmup_epochs=3"]])
def test_progress_follows_the_passes_from_0_to_1(overrides: list[str]):
    schedule = make_schedule(*overrides)
    shares = [schedule.progress(step) for step in range(51)]
    assert (shares[0], shares[-1]) == (0, pytest.approx(1))
    each = [after - before for before, after in pairwise(shares)]
    assert each[:5] == pytest.approx([each[0]] * 5)
    # 2 passes of N-FGSM and 6 of AFD against 20 * 2 + 1 + 6
    assert each[0] / each[-1] == pytest.approx(8 / 47 if overrides else 1)


def test_warm_ups_end_with_a_short_training():
    shortened = ("attack.epsilon_warmup_epochs=40", "attack.epsilon=0.1", "attack.n_fgsm_epochs=4", "train.epochs=10")
    schedule = make_schedule(*shortened, "attack.steps_warmup_epochs=40")
    last = schedule.table(10 * PER_EPOCH - 1)
    assert (last.name, last.steps, last.epsilon) == ("apgd_ce", 20, pytest.approx(0.1))
    assert schedule.table(5 * PER_EPOCH - 1).epsilon == pytest.approx(0.05)
    assert [schedule.table(PER_EPOCH * epoch).steps for epoch in range(3, 6)] == [1, 4, 7]
    assert make_schedule("attack.n_fgsm_epochs=12").table(9 * PER_EPOCH).steps == 20
    assert not make_schedule("attack.n_fgsm_epochs=12", "train.epochs=1").varies


def probing(images: int, *overrides: str, name: str = "digits_wgan") -> ValidationSchedule:
    more = ("train.checkpoint_selection=probe", "validation.steps=20", "validation.limit=500", *overrides)
    return ValidationSchedule(recipe_of(*more, name=name), images, 200)


def test_the_probe_takes_at_most_5_percent_of_the_passes():
    # 200 images of at most 42 + 3 * 42 + 300 + 9 passes; a step of AFD takes 2 * 20 + 1 + 6 an image
    validation, epoch = 200 * 477, 47 * 30_000
    assert passes_of_validation(probing_recipe()) == 477
    schedule = probing(30_000)
    assert (schedule.interval, schedule.count) == (2, 5)
    assert schedule.share == pytest.approx(5 * validation / (10 * epoch))
    assert [epoch for epoch in range(1, 11) if schedule.includes(epoch)] == [2, 4, 6, 8, 10]
    assert probing(3 * 30_000).interval == 1
    for images in (8_000, 20_000, 100_000):
        assert probing(images).share <= 0.05


def probing_recipe() -> Recipe:
    return recipe_of("train.checkpoint_selection=probe", "validation.steps=20")


def test_a_probe_that_costs_too_much_runs_after_the_last_epoch_and_says_so():
    schedule = probing(1237)
    assert [epoch for epoch in range(1, 11) if schedule.includes(epoch)] == [10]
    (warning,) = schedule.warnings()
    assert "one probe costs 16.4% of the training, so only the last epoch is validated" in warning
    assert not list(probing(30_000).warnings())


def test_other_validations_run_after_every_epoch():
    for selection in ("robust", "last"):
        schedule = ValidationSchedule(recipe_of(f"train.checkpoint_selection={selection}"), 100, 200)
        assert all(map(schedule.includes, range(1, 11)))
        assert not list(schedule.warnings())


def test_a_step_of_at_updates_on_one_image_and_natural_training_does_not_attack():
    totals = [make_schedule(name=f"digits_{name}").total_passes for name in ("wgan", "trades", "at", "nt")]
    assert totals == [10 * passes for passes in (47, 47, 44, 3)]


def test_awp_makes_each_update_twice_after_its_warm_up():
    plain, awp = make_schedule(name="digits_at"), make_schedule("defense.awp_gamma=0.01", name="digits_at")
    late = make_schedule("defense.awp_gamma=0.01", "defense.awp_warmup_epochs=4", name="digits_at")
    assert awp.total_passes - plain.total_passes == 10 * 3
    assert late.total_passes - plain.total_passes == 6 * 3
    assert late.varies
    assert not awp.varies
    unused = recipe_of("defense.awp_gamma=0.01", "defense.awp_warmup_epochs=10", name="digits_at")
    assert any("leaves no epoch with AWP" in warning for warning in recipe_warnings(unused, 8))


def test_mean_attack_steps():
    assert make_schedule().mean_attack_steps() == 20
    assert (
        make_schedule("attack.n_fgsm_epochs=2", "attack.steps_warmup_epochs=3").mean_attack_steps()
        == (2 * 0.5 + 5 + 10 + 15 + 5 * 20) / 10
    )


@pytest.mark.parametrize("iterate", ["best_loss", "last", "last_success"])
@pytest.mark.parametrize("union", [(), *((*UNION, f"attack.union.rule={rule}") for rule in ("random", "max", "msd"))])
def test_a_union_of_constant_length_takes_its_own_steps(union: tuple[str, ...], iterate: str):
    schedule = make_schedule("attack.name=pgd", f"attack.return_iterate={iterate}", *union, name="digits_at")
    assert schedule.mean_attack_steps() == 20


@pytest.mark.parametrize("iterate", ["best_loss", "last", "last_success"])
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("digits_at", ("attack.name=apgd_ce",)),
        ("digits_at", ("attack.name=pgd",)),
        ("digits_at", ("attack.name=n_fgsm", "attack.steps=1")),
        ("digits_trades", ()),
        *(("digits_at", (*UNION, f"attack.union.rule={rule}")) for rule in ("random", "max", "msd")),
    ],
)
def test_the_passes_are_those_that_the_attack_makes(name: str, overrides: tuple[str, ...], iterate: str):
    schedule = AdversarySchedule(short(name, f"attack.return_iterate={iterate}", *overrides), PER_EPOCH)
    network, generator = build("lenet", width=2, channels=1, image_size=8, classes=10), torch.Generator()
    adversary = Adversary(network, schedule.table(0), generator)
    with PassCounter() as counter:
        # the attack needs gradients of the images only
        counter.to_weights = False
        adversary(torch.rand(4, 1, 8, 8), torch.arange(4))
    assert schedule.attack_passes(0) == counter.count


def test_n_fgsm_in_all_epochs_takes_one_step():
    schedule = make_schedule("attack.name=n_fgsm", "attack.steps=1")
    assert schedule.table(7) == schedule.recipe.attack
    assert schedule.attack_passes(3) == 2
    assert schedule.mean_attack_steps() == 1
    assert not schedule.varies


def test_natural_training_does_not_vary():
    assert make_schedule("attack.steps_warmup_epochs=3").varies
    assert not make_schedule("attack.steps_warmup_epochs=3", name="digits_nt").varies
    assert not make_schedule("attack.epsilon_warmup_epochs=3").varies


@pytest.mark.parametrize("name", ["mnist_wgan", "cifar10_wgan"])
def test_the_fast_recipes_take_at_most_a_quarter_of_the_passes(name: str):
    def passes(recipe: Recipe) -> float:
        schedule = AdversarySchedule(recipe, 1)
        return recipe.train.epochs * (2 * schedule.mean_attack_steps() + 7)

    assert passes(load(f"{name}_fast")) <= 0.25 * passes(load(name))
