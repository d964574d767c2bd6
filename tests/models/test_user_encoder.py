"""What a user's encoder is built with."""

from pathlib import Path

import pytest

from afdctl.models.user_encoder import build_encoder

CODE = """
from torch import nn

class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)

class Wide(nn.Module):
    def __init__(self, image_size, width=4):
        super().__init__()
        self.dense = nn.Linear(image_size**2, width)

    def forward(self, x):
        return self.dense(x.flatten(1))
"""


@pytest.mark.parametrize(("name", "features"), [("Flat", 64), ("Wide", 6)])
def test_an_encoder_gets_the_arguments_that_it_takes(tmp_path: Path, name: str, features: int):
    (tmp_path / "mine.py").write_text(CODE)
    _, m = build_encoder(f"{tmp_path}/mine.py:{name}", channels=1, image_size=8, width=6)
    assert m == features
