"""The study of factors: which trainings are missing, and how variants are compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import factors

STUDY = {
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


def result(training: factors.Training, robust: list[bool]) -> dict[str, object]:
    accuracy = sum(robust) / len(robust)
    accuracies = dict.fromkeys(("clean", "worst", *factors.ATTACKS, *factors.MEASUREMENTS), accuracy)
    bits = np.packbits(robust).tobytes().hex()
    return {"key": training.key, "seed": training.seed, **accuracies, "n": len(robust), "robust": bits}


def test_every_variant_has_every_seed_and_a_key_of_its_recipe() -> None:
    planned = factors.trainings(STUDY)
    assert [(training.variant, training.seed) for training in planned] == [
        ("first", 0),
        ("second", 0),
        ("first", 1),
        ("second", 1),
    ]
    assert len({training.key for training in planned}) == 4
    first, second = STUDY["variant"]
    planned_less = factors.trainings(STUDY | {"variant": [first, second | {"seeds": [1]}]})
    assert [(training.variant, training.seed) for training in planned_less] == [
        ("first", 0),
        ("first", 1),
        ("second", 1),
    ]
    changed = factors.trainings(STUDY | {"set": ["train.epochs=3"]})
    assert not {training.key for training in changed} & {training.key for training in planned}


def test_variants_are_compared_on_pairs_of_seed_and_image() -> None:
    planned = factors.trainings(STUDY)
    good, bad = [True] * 8, [False] * 6 + [True] * 2
    results = {training.key: result(training, good if training.variant == "first" else bad) for training in planned}
    rows = [line for line in factors.table(STUDY, planned, results).splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| first | 2 | 100.0 ± 0.0 |")
    # 12 images that only the first variant classifies: p = 2 / 2^12
    assert rows[2].endswith("| -75.0 | 0.00049 |")
    only = factors.table(STUDY | {"attacks": ["aa"]}, planned, results)
    assert "| clean | PGD-40 | AutoAttack | against the first | p |" in only


def test_a_finished_training_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "RESULTS", tmp_path / "results")
    trained: list[str] = []

    def measure(training: factors.Training, study: object, runs: Path) -> dict[str, object]:
        trained.append(training.key)
        return result(training, [True]) | {"variant": training.variant}

    monkeypatch.setattr(factors, "measure", measure)
    definition = tmp_path / "small.toml"
    text = json.dumps({key: value for key, value in STUDY.items() if key != "variant"})
    definition.write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in json.loads(text).items())
        + "".join(
            f"\n[[variant]]\nname = {json.dumps(v['name'])}\nset = {json.dumps(v['set'])}" for v in STUDY["variant"]
        )
    )
    for _ in range(2):
        factors.main(definition, runs=tmp_path / "runs")
    assert len(trained) == 4
    assert "| second | 2 |" in (tmp_path / "results/factors_small.md").read_text()


def test_measurements_are_ranked_against_autoattack_over_twelve_checkpoints() -> None:
    rows: list[dict[str, float]] = [
        {"aa": n, "holdout_apgd_ce": -n, "probe": n**2, "pgd": n, "square": n, "apgd_t": n} for n in range(12)
    ]
    assert factors.selection_lines(rows[:11]) == []
    lines = factors.selection_lines(rows)
    assert "| hold-out | APGD-CE | 12 | -1.00 |" in lines
    assert "| hold-out | probe | 12 | 1.00 |" in lines
    for row in rows:
        del row["square"]
    assert "Square" not in "".join(factors.selection_lines(rows))
