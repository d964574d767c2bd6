"""Recipes that exceed a limit of the parser, of Python or of the system get a one-line message."""

import os
from pathlib import Path
from time import process_time

import pytest

from afdctl.errors import RecipeError
from afdctl.recipe import load
from afdctl.suites import load as suites
from tests.recipe.smallest_recipe import SMALLEST, Write
from tests.recipe.test_mistakes import complaint

NAME = "a name in this path has {} bytes; the limit is 255"
VALUES = [
    # a line of the smallest recipe, its replacement, the message
    ("epochs = 2", "epochs = 1000000000000000000", f"x.toml:10: train.epochs = 1{'0' * 18}: must be at most 100000"),
    (
        "epochs = 2",
        "epochs = 2\nbatch_size = 1000000000000000000",
        f"x.toml:11: train.batch_size = 1{'0' * 18}: must be at most 1000000000",
    ),
    ("epochs = 2", f"epochs = {'9' * 5000}", "x.toml:10: a number of too many digits"),
    ("epochs = 2", f"epochs = [\n{'9' * 5000}]", "x.toml:10: a number of too many digits"),
    ("epochs = 2", f"epochs = 0x{'f' * 5000}", "x.toml:10: epochs: a whole number beyond 64 bits"),
    ("epochs = 2", f"epochs = {'[' * 5000}{']' * 5000}", "x.toml:10: nested too deep"),
    ("epochs = 2", f"epochs = {'[' * 9}{']' * 9}", "x.toml:10: epochs: nested more than 8 deep"),
    ("[train]", f"[{'.'.join('abcdefghij')}]\n[train]", "x.toml:9: a.b.c.d.e.f.g.h.i: nested more than 8 deep"),
    ("[train]", f"[{'.'.join('a' * 2000)}]\n[train]", "x.toml:9: nested too deep"),
    (
        "[train]",
        '["a\\nb"]\n[train]',
        "x.toml:9: a\\nb: no such key (known: extends, fidelity, seed, data, model, defense, "
        "attack, train, validation, test)",
    ),
    ("epochs = 2", "epochs = 2\nlr_decay = nan", "x.toml:11: train.lr_decay = NaN: must be finite"),
    (
        "[data]",
        f'extends = "{"y" * 300}"\n[data]',
        f'x.toml:1: extends = "{"y" * 80}... (300 characters)": {NAME.format(305)}',
    ),
    ("[data]", 'extends = "a\\u0000"\n[data]', r'x.toml:1: extends = "a\x00": a path cannot contain a NUL character'),
    (
        'dataset = "digits"',
        f'dataset = "folder"\nimage_size = 8\npath = "{"y" * 300}"',
        f'x.toml:4: data.path = "{"y" * 79}... (302 characters): {NAME.format(300)}',
    ),
]
OVERRIDES = [
    (f"{'a.' * 2000}b=1", "--set a.a.a.a.a.a.a.a.a: nested more than 8 deep"),
    (f"train.epochs={'9' * 5000}", f'--set train.epochs = "{"9" * 79}... (5,002 characters): must be a whole number'),
    (f"train.epochs=0x{'f' * 5000}", "--set train.epochs: a whole number beyond 64 bits"),
    (f"train.epochs={'[' * 5000}", f'--set train.epochs = "{"[" * 79}... (5,002 characters): must be a whole number'),
    (
        "data={ dataset = 'folder', image_size = 8, path = '\udcff' }",
        '--set data.path = "\\udcff": has a character that a recipe cannot store; '
        "rename the folder, or name it with --data-dir",
    ),
    (
        f"train.milestones={list(range(1, 1002))}",
        f"--set train.milestones = {str(list(range(1, 1002)))[:80]}... (4,899 characters): "
        "must have at most 1000 values",
    ),
]


@pytest.mark.parametrize(("line", "instead", "message"), VALUES, ids=[message[:60] for *_, message in VALUES])
def test_a_value_beyond_a_limit(write: Write, line: str, instead: str, message: str) -> None:
    assert complaint(write(x=SMALLEST.replace(line, instead))) == message


@pytest.mark.parametrize(("override", "message"), OVERRIDES, ids=[message[:60] for _, message in OVERRIDES])
def test_a_value_of_the_command_line_beyond_a_limit(write: Write, override: str, message: str) -> None:
    assert complaint(write(x=SMALLEST), override) == message


def test_a_name_that_is_too_long_for_a_file() -> None:
    assert complaint("x" * 300) == f"'{'x' * 80}... (300 characters)': {NAME.format(300)}"


@pytest.mark.parametrize("kind", ["recipe", "suite"])
def test_pipes_devices_and_large_files_are_refused(write: Write, kind: str) -> None:
    Path("large.toml").write_text("#" * (1 << 17))
    os.mkfifo("pipe.toml")
    refused = {
        "large.toml": "has 131,072 bytes; the limit is 65,536",
        "pipe.toml": "is a pipe (FIFO), not a regular file",
        "/dev/zero": "is a device, not a regular file",
    }
    for name, reason in refused.items():
        with pytest.raises(RecipeError) as caught:
            load(name) if kind == "recipe" else suites.load(name, "mnist")
        assert str(caught.value) == f"{name}: cannot be read: {reason}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"steps = {'9' * 5000}", "s.toml:3: a number of too many digits"),
        (f"steps = 0x{'f' * 5000}", "s.toml:3: steps: a whole number beyond 64 bits"),
        (f"[a.{'.'.join('a' * 200)}]", "s.toml:3: a.a.a.a.a.a.a.a.a: nested more than 8 deep"),
        ("steps = 1000000000000000000", f"s.toml:3: mim.steps = 1{'0' * 18}: must be at most 1000000000"),
        ("epsilons = [0, nan]", "s.toml:3: mim.epsilons = [0, NaN]: must be finite"),
        ("decay = inf", "s.toml:3: mim.decay = Infinity: must be finite"),
    ],
)
def test_a_suite_beyond_a_limit(write: Write, row: str, message: str) -> None:
    Path("s.toml").write_text(f'[[attack]]\nname = "mim"\n{row}\n')
    with pytest.raises(RecipeError) as caught:
        suites.load("s.toml", "mnist")
    assert message in str(caught.value).splitlines()


def test_a_chain_of_extends_ends_somewhere(write: Write) -> None:
    write(**{f"x{number}": f'extends = "x{number + 1}.toml"' for number in range(20)})
    assert complaint("x0.toml") == 'x16.toml:1: extends = "x17.toml": a chain of more than 16 files'


def test_a_long_list_is_parsed_quickly(write: Write) -> None:
    """Parsing the list again at each of its lines took minutes."""
    began = process_time()
    assert complaint(write(x=SMALLEST + "milestones = [\n" + "9,\n" * 20_000 + "]")).startswith("x.toml:11: ")
    assert process_time() - began < 2
