"""Grids of the command line."""

import pytest

from afdctl.errors import RecipeError
from afdctl.suites.attack_config import parse_epsilon, parse_grid


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("0:0.5:0.1", (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0:1:0.4", (0, 0.4, 0.8)),
        ("0:16/255:8/255", (0, round(8 / 255, 12), round(16 / 255, 12))),
        ("0, 0.1, 8/20", (0, 0.1, 0.4)),
        ("0.1, 0.2", (0, 0.1, 0.2)),
    ],
)
def test_grids(text: str, grid: tuple[float, ...]):
    assert parse_grid(text) == grid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.2,0.1", "must ascend"),
        ("0,x", "must be numbers or fractions"),
        ("0,-1", "must be 0 or more"),
        ("0,nan", "must be numbers"),
        ("0,1_0", "must be numbers"),
        ("0,٣", "must be numbers"),
        ("0,0.1,0.10", "must ascend"),
        ("0:1e308:1e-3", "makes inf epsilons, more than 200"),
        ("0:1e300:1", "makes 1e+300 epsilons, more than 200"),
        (",".join(map(str, range(201))), "are 201 epsilons, more than 200"),
        ("0:1", "a range is start:stop:step"),
        ("0:1:0", "a range is start:stop:step"),
        ("0:1:0.001", "makes 1001 epsilons"),
        ("", "must be numbers"),
        ("0", "has no epsilon to attack at"),
    ],
)
def test_an_invalid_grid_is_refused(text: str, message: str):
    with pytest.raises(RecipeError) as error:
        parse_grid(text)
    assert message in str(error.value)


def test_one_epsilon():
    assert parse_epsilon("8/255") == 8 / 255
    with pytest.raises(RecipeError, match="--epsilon 'big': must be numbers"):
        parse_epsilon("big")
