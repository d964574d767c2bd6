"""The run's random numbers: what they depend on, and what they leave alone."""

import torch
from torch import Tensor

from afdctl.training.rng import TrainingRNG, make_generator, seeded_init

CPU = torch.device("cpu")


def test_every_purpose_and_every_seed_has_a_stream_of_its_own():
    generators = [generator for seed in (0, 1) for generator in vars(TrainingRNG(seed, CPU)).values()]
    generators += [make_generator(seed, purpose, CPU) for seed in (0, 1) for purpose in ("validation", "test", "init")]
    assert len({generator.initial_seed() for generator in generators}) == len(generators) == 14


def test_a_seed_and_a_purpose_always_give_the_same_stream():
    """Also on another day: runs can be repeated only while this number stays."""
    assert make_generator(0, "attack", CPU).initial_seed() == 3_550_007_835_455_135_418
    assert torch.equal(
        torch.rand(3, generator=make_generator(7, "a", CPU)), torch.rand(3, generator=make_generator(7, "a", CPU))
    )


def weights(seed: int) -> Tensor:
    with seeded_init(seed):
        return torch.nn.Linear(4, 4).weight.detach()


def test_first_weights_follow_the_seed_alone():
    first = weights(0)
    before = torch.get_rng_state()
    assert not torch.equal(weights(1), first)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(weights(0), first)
