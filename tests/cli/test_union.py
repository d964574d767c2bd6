"""The accuracy in a union of balls, which `afdctl sweep` prints."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cli.conftest import Afdctl
from tests.conftest import short, train

SWEEP = ("--attacks", "pgd_linf,pgd_l2,ddn", "--limit", "64", "--set", "steps=5")


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    """One run of a single ball, and one of a union."""
    train(short("digits_at"), folder / "runs", name="at")
    train(short("digits_at", "attack.union.l2=0.5"), folder / "runs", name="union")


def test_the_union_counts_images_that_no_attack_fooled(afdctl: Afdctl, folder: Path):
    ended = afdctl("sweep", "at", *SWEEP, "--union", "linf=0.1,l2=0.5", "--json")
    (union,) = json.loads(ended.out)["unions"]
    with h5py.File(folder / "runs/at/results.h5") as results:
        robust = [
            np.isinf(results[f"attacks/{cell}/distance"][:]) for cell in ("pgd_linf/0.1", "pgd_l2/0.5", "ddn/0.5")
        ]
    assert union["alone"] == {"linf": robust[0].mean(), "l2": (robust[1] & robust[2]).mean()}
    assert union["accuracy"] == np.logical_and.reduce(robust).mean()
    assert union["attacks"] == {"linf": ["pgd_linf"], "l2": ["pgd_l2", "ddn"]}
    low, high = union["interval"]
    assert low <= union["accuracy"] <= high
    table = afdctl("sweep", "at", *SWEEP, "--union", "linf=0.1,l2=0.5").out
    assert f"{100 * union['accuracy']:.1f} ±" in table


def test_a_run_of_a_union_shows_its_own_balls(afdctl: Afdctl, folder: Path):
    assert "not measured; it needs an attack in each ball" in afdctl("export", "union", "--table", "1").out
    ended = afdctl("sweep", "union", *SWEEP, "--json")
    (union,) = json.loads(ended.out)["unions"]
    assert union["balls"] == {"linf": 0.1, "l2": 0.5}
    note = f"union in the union of L∞ 0.1 and L2 0.5: {100 * union['accuracy']:.1f} % (95 % interval"
    assert note in (table := afdctl("export", "union", "--table", "1").out)
    assert "of 64 images that none of pgd_linf, pgd_l2, ddn fooled in any ball." in table
    assert afdctl("export", "union", "--report", "union.html").code == 0
    assert note in (folder / "union.html").read_text()
    # without an attack in one of the balls there is no such accuracy
    assert json.loads(afdctl("sweep", "union", *SWEEP, "--attacks", "pgd_linf", "--json").out)["unions"] == []
    assert json.loads(afdctl("sweep", "at", *SWEEP, "--json").out)["unions"] == []


@pytest.mark.parametrize(
    ("union", "message"),
    [
        ("linf", "write norm=epsilon"),
        ("linf=0.1", "at least two norms"),
        ("linf=0.1,l3=1", "l3: no such norm"),
        ("linf=0.1,linf=0.2", "given twice"),
        ("linf=0.1,l2=0", "l2=0: a radius of 0 is no ball"),
        ("linf=0.1,l2=x", "--union l2 'x': must be numbers"),
        ("linf=0.1,l2=0.7", "no attack of this sweep is there; choose one of its epsilons there: 0.25, 0.5, 1, 1.5"),
        ("linf=0.1,l1=4", "no attack of this sweep is there; add an attack in l1"),
    ],
)
def test_mistakes(afdctl: Afdctl, union: str, message: str):
    ended = afdctl("sweep", "at", *SWEEP, "--union", union)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
