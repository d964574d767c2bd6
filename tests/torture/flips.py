"""One flipped bit, or a cut: damage to a file at a random place."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Self


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

    @classmethod
    def draw(cls, file: Path, draw: random.Random) -> Self:
        """A damage anywhere in the file; one in four is a cut."""
        return cls(draw.randrange(file.stat().st_size), None if draw.random() < 0.25 else draw.randrange(8))
