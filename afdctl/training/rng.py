"""Random generators of a training: one per purpose, so that draws of one never shift another's.

Layers that draw random numbers, such as dropout, take them from torch's global generators.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Generator

from afdctl.user_code.global_state import generator_states, restore_generators, seed_global_generators


def make_generator(seed: int, purpose: str, device: torch.device) -> Generator:
    """Make a generator on the device whose draws depend only on the seed and the purpose."""
    digest = sha256(f"{seed}:{purpose}".encode()).digest()
    # manual_seed takes 63 bits
    return Generator(device).manual_seed(int.from_bytes(digest[:8]) >> 1)


class TrainingRNG:
    """The generators that training steps draw from; a checkpoint saves their states.

    With `user_code`, which may draw from global generators, these are seeded and saved too.
    """

    def __init__(self, seed: int, device: torch.device, user_code: bool = False) -> None:
        self.shuffle = make_generator(seed, "shuffle", device)
        self.augment = make_generator(seed, "augment", device)
        # on the CPU, as torchvision's own draws are
        self.mix = make_generator(seed, "mix", torch.device("cpu"))
        self.attack = make_generator(seed, "attack", device)
        self.noise = make_generator(seed, "noise", device)
        self.generators: dict[str, Generator] = dict(vars(self))
        self._user_code = user_code
        if user_code:
            seed_global_generators(make_generator(seed, "global", torch.device("cpu")).initial_seed())

    def state_dict(self) -> dict[str, Any]:
        states = {purpose: generator.get_state() for purpose, generator in self.generators.items()}
        return states | ({"global": generator_states()} if self._user_code else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for purpose, generator in self.generators.items():
            generator.set_state(state[purpose])
        if self._user_code:
            restore_generators(state["global"])


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Seed torch's global generator for initial weights, and restore it afterwards; layers draw from no other."""
    cpu = torch.device("cpu")
    # layers are built on the CPU, so no CUDA generator needs to be restored
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(make_generator(seed, "init", cpu).initial_seed())
        yield


@contextmanager
def preserved_global_state(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators after the block, those of the CPU and of the device."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_layers(seed: int, work: int | str) -> None:
    """Seed torch's global generators for the random layers of a step or test, so that a resumed run draws the same."""
    torch.manual_seed(make_generator(seed, f"layers {work}", torch.device("cpu")).initial_seed())
