"""Counts of a step are exact, and counting does not change the step."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from afdctl import registry
from afdctl.bench.flop_counter import StepCount, count_step
from afdctl.bench.step_time import defense_table, make_batch
from afdctl.defenses.base import Defense
from afdctl.models.cost import FlopCounter
from afdctl.recipe import Recipe
from afdctl.training.cost_estimate import ImageBatch, build_defense, cost_event, estimate_cost
from tests.conftest import short

CPU = torch.device("cpu")
STEPS = 3


def build(chosen: Recipe, name: str | None = None, attack_steps: int = STEPS) -> tuple[Defense, ImageBatch]:
    """The recipe's defense or another, the same each time, and a batch for it."""
    images = make_batch(chosen, CPU)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_defense(chosen, defense_table(chosen, name or chosen.defense.name), attack_steps, images), images


def counted(chosen: Recipe, attack_steps: int = STEPS) -> StepCount:
    own, images = build(chosen, attack_steps=attack_steps)
    return count_step(own, images.x, images.y)


def test_a_product_counted_by_hand():
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    with FlopCounter() as counter:
        torch.mm(a, b)
        (a + a).t()
    assert counter.flop == 2 * 2 * 3 * 5
    assert counter.traffic == 4 * (2 * 3 + 3 * 5 + 2 * 5)
    assert counter.unfused == counter.traffic + 4 * 3 * (2 * 3), "a view moves nothing"
    assert counter.largest == 4 * 3 * 5


def test_flop_are_those_of_torchs_counter():
    own, images = build(short("digits_nt"))
    with FlopCounterMode(display=False) as counter:
        own.step(images.x, images.y)
    assert sum(counted(short("digits_nt")).flop.values()) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "more", "passes"),
    [
        ("digits_nt", (), (0, 3, 0, 0)),
        ("digits_at", ("attack.epsilon_warmup_epochs=0",), (2 * STEPS + 1, 3, 0, 0)),
        ("digits_trades", (), (2 * STEPS + 1, 6, 0, 0)),
        ("mnist_matching", ("train.batch_size=4",), (2 * STEPS + 1, 6, 0, 0)),
        ("digits_wgan", (), (2 * STEPS + 1, 3, 0, 3)),
        ("digits_wgan", ("defense.update='sequential'",), (2 * STEPS + 1, 3, 2, 3)),
        # a frozen encoder needs no backward pass to its weights, a frozen C_phi changes nothing for the encoder
        ("digits_nt", ("train.freeze=['F_theta']",), (0, 1, 0, 0)),
        ("digits_wgan", ("train.freeze=['C_phi']",), (2 * STEPS + 1, 3, 0, 3)),
        ("digits_wgan", ("train.freeze=['C_phi']", "defense.update='sequential'"), (2 * STEPS + 1, 3, 2, 3)),
        ("digits_wgan", ("defense.gp_weight=10.0",), (2 * STEPS + 1, 3, 0, 3)),
        ("digits_wgan", ("defense.classify='both'",), (2 * STEPS + 1, 5, 0, 3)),
        ("digits_wgan", ("defense.classify='adversarial'",), (2 * STEPS + 1, 2, 1, 3)),
    ],
)
def test_passes_of_a_step_by_phase(name: str, more: tuple[str, ...], passes: tuple[int, ...]):
    """A forward pass is one, a backward pass one to the images and two to the weights."""
    chosen = short(name, *more)
    result = counted(chosen)
    assert tuple(result.passes[phase] for phase in ("attack", "C", "D", "F")) == passes
    has_game = chosen.defense.name == "afd"
    assert {phase for phase, flop in result.flop.items() if flop} == {
        *(["attack"] if passes[0] else []),
        "C",
        *(["D", "F"] if has_game else []),
    }


@pytest.mark.parametrize("name", registry.DEFENSES)
def test_a_counted_step_gives_the_same_bits(name: str):
    chosen = short("digits_wgan", "train.batch_size=16")
    (plain, images), (watched, _) = build(chosen, name), build(chosen, name)
    own_attack = watched.adversary
    plain.step(images.x, images.y)
    count_step(watched, images.x, images.y)
    assert watched.adversary is own_attack
    # an uncounted step after it starts from the same weights and the same states of the generators
    mine, theirs = plain.step(images.x, images.y), watched.step(images.x, images.y)
    assert {key: value.item() for key, value in mine.items()} == {key: value.item() for key, value in theirs.items()}
    for (key, weights), (_, others) in zip(
        plain.network.named_parameters(), watched.network.named_parameters(), strict=True
    ):
        assert torch.equal(weights, others), key


def test_all_hooks_are_removed():
    own, images = build(short("digits_wgan"))
    count_step(own, images.x, images.y)
    assert not any(module._forward_pre_hooks for module in own.modules["network"].modules())
    assert not own.modules["D_psi"]._forward_pre_hooks
    assert not nn.modules.module._global_forward_hooks


@pytest.mark.parametrize("name", ["digits_wgan", "digits_trades", "digits_nt"])
def test_two_images_predict_a_batch_at_any_attack_length(name: str):
    chosen = short(name, "train.batch_size=6")
    predicted = estimate_cost(chosen, make_batch(chosen, CPU).head(2)).flop(5)
    whole = counted(chosen, 5).flop
    assert {phase: 6 * flop for phase, flop in predicted.items()} == {phase: whole[phase] for phase in predicted}


def test_the_estimate_leaves_the_global_generator():
    state = torch.get_rng_state()
    event = cost_event(short("digits_wgan", "attack.steps=5"), (1, 8, 8), 10, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(event["flop"]) == {"attack", "C", "D", "F"}
    assert event["floor_seconds"] == pytest.approx(sum(event["flop"].values()) / event["product_flop_per_s"])


def test_a_lenets_attack_counted_by_hand():
    """One attack step is two forward passes and a backward pass to the images, which costs as much as one."""
    chosen = short("digits_wgan", "train.batch_size=2")
    convolutions = 8 * 8 * 4 * 25 + 4 * 4 * 8 * 4 * 25
    dense = 8 * 2 * 2 * 32 + 32 * 10
    assert counted(chosen, 1).flop["attack"] == 2 * 3 * 2 * (convolutions + dense)
