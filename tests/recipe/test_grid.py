"""`--grid`: its values, its cells and their names."""

import pytest

from afdctl.errors import RecipeError
from afdctl.recipe import load
from afdctl.recipe.grid import Grid, parse, split


def grid(*texts: str, overrides: list[str] | None = None) -> Grid:
    return Grid("digits_nt", overrides or [], parse(texts))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,0.5", ["0.1", "0.5"]),
        ("[1,2], [3]", ["[1,2]", "[3]"]),
        ("'a,b',\"c]\"", ["'a,b'", '"c]"']),
        ("{a = [1, 2]},x", ["{a = [1, 2]}", "x"]),
        ("8/255", ["8/255"]),
    ],
)
def test_commas_inside_brackets_and_quotes_are_part_of_a_value(text: str, values: list[str]):
    assert split(text) == values


def test_cells_are_all_combinations_the_last_key_first():
    cells = grid("seed=0,1", "defense.lr_C=0.05,0.1").cells()
    assert [str(cell) for cell in cells] == [
        *("seed=0 lr_C=0.05", "seed=0 lr_C=0.1"),
        *("seed=1 lr_C=0.05", "seed=1 lr_C=0.1"),
    ]
    assert [(cell.recipe.seed, cell.recipe.defense.lr_C) for cell in cells] == [
        (0, 0.05),
        (0, 0.1),
        (1, 0.05),
        (1, 0.1),
    ]


def test_a_cell_is_the_recipe_of_the_same_overrides():
    (cell,) = grid("attack.epsilon=8/255", overrides=["train.epochs=3"]).cells()
    assert cell.recipe == load("digits_nt", ["train.epochs=3", "attack.epsilon=8/255"])


def test_a_digest_is_that_of_the_recipe_however_it_is_written():
    (one,), (other,) = grid("train.epochs=3").cells(), grid("seed=0", overrides=["train.epochs=3"]).cells()
    assert one.digest == other.digest
    assert one.digest != grid("train.epochs=4").cells()[0].digest


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["defense.lr_G=0.1,0.2"], "--grid defense.lr_G: no such key (did you mean 'lr_C'?)"),
        (["defense.lr_C=0.1,fast"], '--grid defense.lr_C = "fast": must be a number'),
        (["defense.lr_C"], "--grid defense.lr_C: write --grid KEY=VALUE,VALUE, such as defense.lr_F=0.1,0.5"),
        (["defense.lr_C=0.1,"], "--grid defense.lr_C=0.1,: write --grid KEY=VALUE,VALUE"),
        (["seed=1,1"], "--grid seed=1,1: names a value twice"),
        (["seed=0", "seed=1"], "--grid seed=1: seed is named twice; name all its values in one --grid"),
        (["defense.lr_C=0.1,0.10"], "--grid: lr_C=0.1 and lr_C=0.10 are the same training; leave one of them out"),
        (["defense.lr_C=0.1..0.5"], "--grid defense.lr_C: a range needs --search optuna"),
        (["defense.lr_C=0.1..0.5,1"], "a range takes no values beside it"),
        (["defense.lr_C=0.5..0.1"], "a range is a number, then a larger one"),
        (["defense.lr_C=log:0..0.1"], "a range is a positive number, then a larger one"),
        (["seed=" + ",".join(map(str, range(101))), "train.epochs=" + ",".join(map(str, range(1, 101)))], "10,100 "),
    ],
)
def test_a_mistake_is_named(texts: list[str], message: str):
    with pytest.raises(RecipeError) as raised:
        grid(*texts).cells()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_key_of_the_grid_is_not_set_too():
    with pytest.raises(RecipeError, match=r"--grid train.epochs: --set names this key too"):
        grid("train.epochs=1,2", overrides=["train.epochs=3"])
