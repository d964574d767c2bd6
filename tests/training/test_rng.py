"""Test what the generators of a training depend on, and that global state is restored."""

import torch
from torch import Tensor

from afdctl.training.rng import TrainingRNG, make_generator, seeded_init

CPU = torch.device("cpu")


def test_every_purpose_and_seed_has_a_separate_stream():
    generators = [generator for seed in (0, 1) for generator in TrainingRNG(seed, CPU).generators.values()]
    generators += [make_generator(seed, purpose, CPU) for seed in (0, 1) for purpose in ("validation", "test", "init")]
    assert len({generator.initial_seed() for generator in generators}) == len(generators) == 16


def test_a_seed_and_a_purpose_always_give_the_same_stream():
    """In any version: a change of this number would make earlier runs impossible to repeat."""
    assert make_generator(0, "attack", CPU).initial_seed() == 3_550_007_835_455_135_418
    assert torch.equal(
        torch.rand(3, generator=make_generator(7, "a", CPU)), torch.rand(3, generator=make_generator(7, "a", CPU))
    )


def weights(seed: int) -> Tensor:
    with seeded_init(seed):
        return torch.nn.Linear(4, 4).weight.detach()


def test_initial_weights_depend_only_on_the_seed():
    first = weights(0)
    before = torch.get_rng_state()
    assert not torch.equal(weights(1), first)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(weights(0), first)
