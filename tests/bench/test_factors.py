"""The study of factors: which trainings are missing, and how variants are compared."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import typer

from afdctl.errors import RecipeError
from benchmarks import factors, factors_table
from benchmarks.factors import Study

KEYS: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "about": "Two variants.",
    "recipe": "digits_afd",
    "set": ["train.epochs=2"],
    "epsilon": 0.1,
    "checkpoint": "last",
    "attacks": ["apgd_t", "square", "aa"],
    "seeds": [0, 1],
    "variant": [{"name": "first", "set": []}, {"name": "second", "set": ["defense.lr_F=0"]}],
}
STUDY = Study(**KEYS)


def result(training: factors.Training, robust: list[bool]) -> dict[str, object]:
    accuracy = sum(robust) / len(robust)
    accuracies = dict.fromkeys(("clean", "worst", *factors_table.ATTACKS, *factors_table.MEASUREMENTS), accuracy)
    bits = np.packbits(robust).tobytes().hex()
    return {"key": training.key, "seed": training.seed, **accuracies, "n": len(robust), "robust": bits}


def write(folder: Path, keys: dict[str, Any]) -> Path:
    definition = folder / "small.toml"
    definition.write_text(tomli_w.dumps(keys))
    return definition


def test_every_variant_has_every_seed_and_a_key_of_its_recipe() -> None:
    planned = factors.trainings(STUDY)
    assert [(training.variant, training.seed) for training in planned] == [
        ("first", 0),
        ("second", 0),
        ("first", 1),
        ("second", 1),
    ]
    assert len({training.key for training in planned}) == 4
    first, second = KEYS["variant"]
    planned_less = factors.trainings(Study(**KEYS | {"variant": [first, second | {"seeds": [1]}]}))
    assert [(training.variant, training.seed) for training in planned_less] == [
        ("first", 0),
        ("first", 1),
        ("second", 1),
    ]
    changed = factors.trainings(Study(**KEYS | {"set": ["train.epochs=3"]}))
    assert not {training.key for training in changed} & {training.key for training in planned}


def test_variants_are_compared_seed_by_seed_on_the_same_images() -> None:
    planned = factors.trainings(STUDY)
    robust = {"first": {0: [True] * 8, 1: [True] * 8}, "second": {0: [False] * 6 + [True] * 2, 1: [True] * 8}}
    results = {training.key: result(training, robust[training.variant][training.seed]) for training in planned}
    rows = [line for line in factors_table.table(STUDY, planned, results).splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| first | 2 | 100.0 ± 0.0 |")
    assert rows[1].endswith(" |  |  |")
    # 6 images that only the first variant classifies: p = 2 / 2^6
    assert rows[2].endswith("| −37.5 | −75.0 (0.031), +0.0 (1) |")
    only = factors_table.table(Study(**KEYS | {"attacks": ["aa"]}), planned, results)
    assert "| clean | PGD-40 | AutoAttack | against the first | each seed (p) |" in only
    one = factors_table.table(STUDY, planned[:2], results)
    assert "| −75.0 | −75.0 (0.031) |" in one


def test_the_mean_of_three_seeds_has_an_interval() -> None:
    three = Study(**KEYS | {"seeds": [0, 1, 2]})
    planned = factors.trainings(three)
    robust = {"first": [[True] * 8] * 3, "second": [[False] * 6 + [True] * 2, [True] * 8, [False] * 3 + [True] * 5]}
    results = {training.key: result(training, robust[training.variant][training.seed]) for training in planned}
    # differences of -75, 0 and -37.5 points; 4.303 is the 0.975 quantile of t with 2 degrees of freedom
    interval = 4.303 * 37.5 / 3**0.5
    assert f"| −37.5 ± {interval:.1f} | −75.0 (0.031), +0.0 (1), −37.5 (0.25) |" in factors_table.table(
        three, planned, results
    )


def test_nothing_is_compared_with_a_first_variant_that_is_missing() -> None:
    planned = factors.trainings(STUDY)
    results = {training.key: result(training, [True]) for training in planned if training.variant == "second"}
    # and the image count is of the rows shown, not of older results
    results = {"stale": results[planned[1].key] | {"n": 100}} | results
    table = factors_table.table(STUDY, planned, results)
    assert "| second | 2 |" in table
    assert "|  |  |\n" in table
    assert "on 1 test images" in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": ["pgd_linf"]}, "attacks.0: Input should be 'apgd_t', 'square' or 'aa'"),
        ({"epsilons": 0.1}, "epsilons: Extra inputs are not permitted"),
        ({"variant": [{"set": []}]}, "variant.0.name: Field required"),
        ({"variant": [{"name": "a"}, {"name": "a", "set": ["seed=3"]}]}, "a is named twice"),
        ({"variant": [{"name": "a", "seeds": [5]}]}, "a: seed 5 is not one of the study's seeds"),
    ],
)
def test_a_wrong_study_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    definition = write(tmp_path, KEYS | change)
    with pytest.raises(RecipeError) as error:
        factors.read(definition)
    assert str(error.value) == f"{definition}: {message}"
    monkeypatch.setattr(factors, "measure", None)
    with pytest.raises(typer.BadParameter, match=re.escape(message)):
        factors.main(definition, runs=tmp_path / "runs", out=tmp_path)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"set": ["defense.lr_G=0"]}, "second: --set defense.lr_G: no such key"),
        ({"set": ["train.epochs=2"]}, "second: the same recipe as first"),
    ],
)
def test_a_variant_with_a_wrong_recipe_is_named(second: dict[str, Any], message: str) -> None:
    first = KEYS["variant"][0]
    with pytest.raises(RecipeError, match=message):
        factors.trainings(Study(**KEYS | {"variant": [first, {"name": "second", **second}]}))


def test_a_failed_training_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(training: factors.Training, study: object, runs: Path) -> dict[str, object]:
        if training.variant == "first":
            raise ChildProcessError("train ended with 6")
        return result(training, [True]) | {"variant": training.variant}

    monkeypatch.setattr(factors, "measure", measure)
    with pytest.raises(SystemExit, match="train ended with 6\ntrain ended with 6"):
        factors.main(write(tmp_path, KEYS), runs=tmp_path / "runs", out=tmp_path)
    assert "| second | 2 |" in (tmp_path / "factors_small.md").read_text()


def test_a_finished_training_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def measure(training: factors.Training, study: object, runs: Path) -> dict[str, object]:
        trained.append(training.key)
        return result(training, [True]) | {"variant": training.variant}

    monkeypatch.setattr(factors, "measure", measure)
    definition = write(tmp_path, KEYS)
    for _ in range(2):
        factors.main(definition, runs=tmp_path / "runs", out=tmp_path / "results")
    assert len(trained) == 4
    assert "| second | 2 |" in (tmp_path / "results/factors_small.md").read_text()


def test_measurements_are_ranked_against_autoattack_over_twelve_checkpoints() -> None:
    rows: list[dict[str, float]] = [
        {"aa": n, "holdout_apgd_ce": -n, "probe": n**2, "pgd": n, "square": n, "apgd_t": n} for n in range(12)
    ]
    assert factors_table.selection_lines(rows[:11]) == []
    lines = factors_table.selection_lines(rows)
    assert "| hold-out | APGD-CE | 12 | −1.00 |" in lines
    assert "| hold-out | probe | 12 | 1.00 |" in lines
    for row in rows:
        del row["square"]
    assert "Square" not in "".join(factors_table.selection_lines(rows))
