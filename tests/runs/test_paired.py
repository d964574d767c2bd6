"""McNemar's test against values worked by hand and SciPy's, and which results of two runs can be paired."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from afdctl.runs import paired
from afdctl.runs.paired import PairedTest, format_p, mcnemar, paired_tests
from afdctl.runs.record import Record
from tests.journals import PROVENANCE, saved, swept, written

BEST, LAST = "b" * 64, "c" * 64


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    # (C(6, 0) + C(6, 1)) / 64 twice; equal counts and none at all are no evidence
    [(1, 5, 2 * 7 / 64), (5, 1, 2 * 7 / 64), (0, 10, 2 / 1024), (4, 4, 1.0), (0, 0, 1.0)],
)
def test_p_is_twice_the_smaller_tail_of_a_fair_coin(only_first: int, only_second: int, p: float):
    assert mcnemar(only_first, only_second) == p


@pytest.mark.parametrize("counts", [(3, 17), (40, 61), (700, 800), (4000, 4400)])
def test_p_equals_scipys_binomial_test(counts: tuple[int, int]):
    assert mcnemar(*counts) == pytest.approx(binomtest(counts[0], sum(counts)).pvalue, rel=1e-9)


def test_p_values_have_two_digits():
    assert [format_p(p) for p in (0.7283, 1.0, 0.00042, 0.0001, 0.00009)] == [
        "p = 0.73",
        "p = 1",
        "p = 0.00042",
        "p = 0.0001",
        "p < 0.0001",
    ]


def record(root: Path, name: str, accuracy: float = 0.5, *, data: str = "d", **fields: Any) -> Record:
    run = written(root, name, [saved(BEST, best=True)], provenance=PROVENANCE | {"data_digest": data})
    swept(run, {0.1: accuracy}, **{"checkpoint": BEST} | fields)
    return Record.of(run)


def the_test(first: Record, second: Record) -> PairedTest:
    (test,) = paired_tests(first, second)
    assert (test.runs, test.attack, test.epsilon) == ((first.name, second.name), "aa", 0.1)
    return test


def test_images_are_paired_by_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # robust: images 0 to 49 of 100, and 5 to 44 of 80
    one, two = record(tmp_path, "one"), record(tmp_path, "two", n=80, shift=5)
    test = the_test(one, two)
    assert (test.n, test.accuracies) == (80, (50 / 80, 40 / 80))
    assert (test.only_first, test.only_second, test.p) == (10, 0, 2 / 1024)
    assert (test.reason, test.checkpoints) == (None, ("best", "best"))
    # the second run's images are 20 to 99 of the data: 25 to 64 remain robust
    monkeypatch.setattr(paired, "image_indices", lambda cell, arrays: np.arange(100 - cell["n"], 100))
    test = the_test(one, two)
    assert (test.n, test.accuracies, test.only_first, test.only_second) == (80, (30 / 80, 40 / 80), 5, 15)
    monkeypatch.setattr(paired, "image_indices", lambda cell, arrays: np.arange(cell["n"]) + 1000 * (cell["n"] == 80))
    test = the_test(one, two)
    assert (test.reason, test.n, test.p) == ("no shared images", None, None)


def test_indices_are_those_of_the_sweep_or_the_first_ones():
    assert paired.image_indices({"n": 2}, {"index": np.array([7, 3])}).tolist() == [7, 3]
    assert paired.image_indices({"n": 2}, {}).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": "other"}, "other data"),
        ({"spec": {"name": "aa", "steps": 5}}, "other settings (norm, epsilons, steps)"),
        ({"grid": [0, 0.1]}, "other settings (grid)"),
        ({"precision": "bf16"}, "other settings (precision)"),
        ({"shard": "gone.h5"}, "per-sample results are damaged or missing"),
    ],
)
def test_what_cannot_be_paired_has_a_reason(tmp_path: Path, fields: dict[str, Any], reason: str):
    test = the_test(record(tmp_path, "one"), record(tmp_path, "two", **fields))
    assert (test.reason, test.n, test.p) == (reason, None, None)


def test_seed_and_batch_size_do_not_matter(tmp_path: Path):
    spec = {"name": "aa", "norm": "linf", "epsilons": [0, 1], "batch_size": 7, "library": "2"}
    assert the_test(record(tmp_path, "one"), record(tmp_path, "two", seed=3, spec=spec)).p == 1


def test_both_checkpoints_are_paired(tmp_path: Path):
    runs = [written(tmp_path, name, [saved(BEST, best=True), saved(LAST, best=False)]) for name in ("one", "two")]
    for run in runs:
        swept(run, {0.1: 0.5}, checkpoint=BEST)
        swept(run, {0.1: 0.4}, checkpoint=LAST)
    tests = list(paired_tests(*map(Record.of, runs)))
    assert [(test.checkpoints, test.accuracies) for test in tests] == [
        (("best", "best"), (0.5, 0.5)),
        (("last", "last"), (0.4, 0.4)),
    ]
