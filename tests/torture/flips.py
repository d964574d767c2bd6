"""One flipped bit, or a cut: damage to a file at a random place."""

import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Damage:
    """A flipped bit (`bit` of byte `place`), or a file that ends at `place` (bit None)."""

    place: int
    bit: int | None

    def __str__(self) -> str:
        return f"cut at byte {self.place}" if self.bit is None else f"bit {self.bit} of byte {self.place} flipped"

    def do(self, data: bytes) -> bytes:
        if self.bit is None:
            return data[: self.place]
        return data[: self.place] + bytes([data[self.place] ^ 1 << self.bit]) + data[self.place + 1 :]


def damages(path: Path, draw: random.Random, number: int) -> list[Damage]:
    """Places all over a file; one in four is a cut."""
    size = path.stat().st_size
    return [Damage(draw.randrange(size), None if draw.random() < 0.25 else draw.randrange(8)) for _ in range(number)]
