"""Random generators of a training: one per purpose, so that draws of one never shift another's.

Layers that draw random numbers, such as dropout, take them from torch's global generators.
"""

from collections.abc import Iterator, Mapping, Sequence
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


def _process(rank: int) -> str:
    # the first process draws what a single one does
    return f" of process {rank}" if rank else ""


class TrainingRNG:
    """The generators that training steps draw from; a checkpoint saves their states.

    Of several processes each has streams of its own, except for the order of the images, which all share.

    With `user_code`, which may draw from global generators, these are seeded and saved too.
    """

    def __init__(self, seed: int, device: torch.device, user_code: bool = False, rank: int = 0) -> None:
        process = _process(rank)
        self.shuffle = make_generator(seed, "shuffle", device)
        self.augment = make_generator(seed, "augment" + process, device)
        # on the CPU, as torchvision's own draws are
        self.mix = make_generator(seed, "mix" + process, torch.device("cpu"))
        self.attack = make_generator(seed, "attack" + process, device)
        self.noise = make_generator(seed, "noise" + process, device)
        self.generators: dict[str, Generator] = dict(vars(self))
        self._user_code = user_code
        if user_code:
            seed_global_generators(make_generator(seed, "global" + process, torch.device("cpu")).initial_seed())

    def state_dict(self) -> dict[str, Any]:
        states = {purpose: generator.get_state() for purpose, generator in self.generators.items()}
        return states | ({"global": generator_states()} if self._user_code else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for purpose, generator in self.generators.items():
            generator.set_state(state[purpose])
        if self._user_code:
            restore_generators(state["global"])

    def continue_streams(self, states: Sequence[Mapping[str, Any]], *, rank: int, seed: int, step: int) -> None:
        """Continue from the states of all processes of a checkpoint; a further process gets new streams."""
        if rank < len(states):
            self.load_state_dict(states[rank])
            return
        self.shuffle.set_state(states[0]["shuffle"])
        for purpose, generator in self.generators.items():
            if purpose != "shuffle":
                own = make_generator(seed, f"{purpose} of process {rank} from step {step}", generator.device)
                generator.set_state(own.get_state())


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


def seed_layers(seed: int, work: int | str, rank: int = 0) -> None:
    """Seed torch's global generators for the random layers of a step or test, so that a resumed run draws the same."""
    torch.manual_seed(make_generator(seed, f"layers {work}" + _process(rank), torch.device("cpu")).initial_seed())
