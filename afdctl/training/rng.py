"""The run's random numbers: one generator for each purpose, so that no draw disturbs another's stream."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256

import torch
from torch import Generator, Tensor


def make_generator(seed: int, purpose: str, device: torch.device) -> Generator:
    """A generator on the device whose stream depends on the seed and on the purpose alone."""
    digest = sha256(f"{seed}:{purpose}".encode()).digest()
    return Generator(device).manual_seed(int.from_bytes(digest[:8]) >> 1)


class TrainingRNG:
    """The generators that training draws from; a checkpoint holds their states."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.shuffle = make_generator(seed, "shuffle", device)
        self.augment = make_generator(seed, "augment", device)
        self.attack = make_generator(seed, "attack", device)
        self.noise = make_generator(seed, "noise", device)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, generator in vars(self).items():
            generator.set_state(state[name])


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Draw weights inside from the run's seed; torch's layers know the global generator only, so it is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(make_generator(seed, "init", torch.device("cpu")).initial_seed())
        yield
