"""Test tables 2, A1, A3, A4, A5 and cost against values worked by hand."""

from pathlib import Path
from typing import Any

import pytest

from afdctl.errors import NotFoundError, RecipeError
from afdctl.export.tables import cost
from afdctl.export.tables.base import Cell, build_table, check_name
from tests.export.tables.sample_runs import DIGEST, Rows, cell_rows, make_record


def test_an_area_is_the_trapezoid_over_table_a2s_grid(tmp_path: Path) -> None:
    # 0 0.2 0.3 0.35 at 1 0.8 0.6 0.2: (0.9 * 0.2 + 0.7 * 0.1 + 0.4 * 0.05) / 0.35
    curve = cell_rows("aa", {0.2: 0.8, 0.25: 0.0, 0.3: 0.6, 0.35: 0.2}, acc_nat=1.0)
    part = cell_rows("pgd_linf", {0.1: 0.5, 0.2: 0.0}, acc_nat=1.0)
    table = build_table("2", [make_record(tmp_path, "wgan", "mnist_wgan", [*curve, *part])], with_paper=True)
    areas = table.rows[-1].cells
    assert areas["aa"].value == pytest.approx(0.27 / 0.35)
    assert areas["aa"].difference == pytest.approx(0.27 / 0.35 - 0.90)
    # the whole of another grid, which is said: (0.75 * 0.1 + 0.25 * 0.1) / 0.2
    assert areas["pgd_linf"].value == pytest.approx(0.5)
    assert any("PGD-L∞ of MNIST AFD-WGAN: grid 0 0.1 0.2" in note for note in table.notes)


def test_hyperparameters_are_the_recipes(tmp_path: Path) -> None:
    runs = [
        make_record(tmp_path, "nt", "cifar10_nt", []),
        make_record(tmp_path, "wgan", "cifar10_wgan", [], "train.epochs=7"),
    ]
    natural, wgan = build_table("A1", runs, with_paper=True).rows
    assert {key: cell.value for key, cell in wgan.cells.items()} == {
        "model": "resnet18, width 64",
        "lr_F": "0.5",
        "lr_D": "0.1",
        "lr_C": "0.1",
        "weight_decay": "0.0001",
        "batch_size": "128",
        "epochs": "7",
        "milestones": "[150, 250]",
        "gp_weight": "1",
        "classify": "x",
        "batch_statistics": "separate",
        "ema_decay": None,
        "epsilon_warmup": None,
    }
    assert [wgan.cells[key].published for key in ("epochs", "gp_weight")] == ["300", "1"]
    assert natural.cells["lr_F"] == Cell()


def test_hyperparameters_that_decide_robustness_are_in_the_table(tmp_path: Path) -> None:
    settings = ("defense.classify=both", "train.ema_decay=0.995", "attack.epsilon_warmup_epochs=2.5")
    runs = [make_record(tmp_path, "wgan", "mnist_wgan", [], *settings), make_record(tmp_path, "at", "mnist_at", [])]
    at, wgan = build_table("A1", runs, with_paper=False).rows
    keys = ("classify", "ema_decay", "epsilon_warmup")
    assert [wgan.cells[key].value for key in keys] == ["x and x'", "0.995", "2.5"]
    assert at.cells["classify"].value == "x'"
    short = make_record(tmp_path, "short", "mnist_wgan", [], "attack.epsilon_warmup_epochs=5", "train.epochs=2")
    (row,) = build_table("A1", [short], with_paper=False).rows
    assert row.cells["epsilon_warmup"].value == "2"


def test_transfers_are_laid_out_by_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    runs = [
        make_record(root, "at", "mnist_at", cell_rows("pgd_linf", {0.3: 0.9}, source="trades")),
        make_record(root, "trades", "mnist_trades", []),
        make_record(root, "wgan", "mnist_wgan", cell_rows("pgd_linf", {0.3: 0.8}, source="at")),
        make_record(root, "nt", "mnist_nt", cell_rows("pgd_linf", {0.3: 0.8}, source="at")),
    ]
    table = build_table("A3", runs, with_paper=True)
    by_method = {row.labels[1]: row.cells for row in table.rows}
    assert list(by_method) == ["AT", "TRADES", "AFD-DCGAN", "AFD-WGAN"]
    assert (by_method["AT"]["from_AT"], by_method["AT"]["from_TRADES"].value) == (Cell(), 0.9)
    assert by_method["AFD-WGAN"]["from_AT"].difference == pytest.approx(0.8 - 0.9741)
    assert table.missing[0] == "afdctl sweep trades --suite paper-A2 --from at --attacks pgd_linf"


def analysis(name: str, n: int = 360, **figures: Any) -> dict[str, Any]:
    return {
        "event": "analysis",
        "name": name,
        "key": "k",
        "checkpoint": DIGEST,
        "n": n,
        "seed": 0,
        "metrics": figures,
        "shard": None,
        "features": [],
    }


def test_units_and_dims_have_columns_by_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    runs = [
        make_record(
            root, "d", "digits_wgan", [analysis("pca", dims=7, features=32), analysis("units", units=20, features=32)]
        ),
        make_record(root, "m", "mnist_wgan", [analysis("units", 1000, units=30, features=64)]),
        make_record(root, "a", "mnist_at", []),
        make_record(root, "b", "digits_at", []),
    ]
    table = build_table("A4", runs, with_paper=True)
    (row,) = (row for row in table.rows if row.labels == ("AFD-WGAN",))
    assert {key: cell.value for key, cell in row.cells.items()} == {
        "mnist_units": 30,
        "mnist_dims": None,
        "digits_units": 20,
        "digits_dims": 7,
    }
    assert row.cells["mnist_units"].difference == 2
    # AFD-DCGAN has no run; digits are not in the paper
    assert table.missing == [
        "afdctl train mnist_nt",
        "afdctl analyze a b m --units --pca",
        "afdctl train mnist_trades",
        "afdctl train mnist_dcgan",
    ]


def test_a_discriminator_without_a_run_is_trained_with_the_recipe_of_another(tmp_path: Path) -> None:
    run = make_record(tmp_path, "w", "mnist_wgan", cell_rows("pgd_linf", {0.3: 0.9}))
    table = build_table("A5", [run, make_record(tmp_path, "at", "mnist_at", [])], with_paper=True)
    assert [row.labels for row in table.rows] == [
        ("mnist", "AFD-WGAN", "FC1-PD"),
        ("mnist", "AFD-WGAN", "FC3"),
        ("mnist", "AFD-WGAN", "FC3-PD"),
    ]
    assert table.rows[2].cells["pgd_linf"].difference == pytest.approx(0.9 - 0.9703)
    root = run.run.path.parent
    assert table.missing == [
        f"afdctl train {root}/w/recipe.toml --set defense.discriminator=fc1-pd",
        f"afdctl train {root}/w/recipe.toml --set defense.discriminator=fc3",
    ]


def test_recipes_that_differ_in_more_than_the_discriminator_are_noted(tmp_path: Path) -> None:
    runs = [make_record(tmp_path, "three", "mnist_wgan", []), make_record(tmp_path, "one", "mnist_wgan_fc1pd", [])]
    table = build_table("A5", runs, with_paper=False)
    assert [row.labels[1] for row in table.rows] == ["AFD-WGAN"] * 3
    assert not any("compare" in note for note in table.notes)
    runs.append(make_record(tmp_path, "fc3", "mnist_wgan_fc3", [], "train.epochs=80"))
    assert any("`afdctl runs compare one fc3 three`" in note for note in build_table("A5", runs, False).notes)


def steps(speeds: dict[int, float]) -> Rows:
    """Ten steps an epoch, all of an epoch at one speed in images a second."""
    return [
        {"event": "step", "step": 10 * epoch - 9 + place, "epoch": epoch, "images_per_s": speed}
        for epoch, speed in speeds.items()
        for place in range(10)
    ]


def test_an_epochs_seconds_are_its_images_over_their_speed(tmp_path: Path) -> None:
    # 1437 - 200 images an epoch; the first of several does not count
    at = make_record(tmp_path, "at", "digits_at", steps({1: 10, 2: 1237, 3: 1237 / 3}))
    low = {"attack": "bf16", "train": "float32"}
    wgan = make_record(tmp_path, "wgan", "digits_wgan", steps({1: 1237 / 3}), threads=2, precisions=low)
    assert cost.steady_epochs(at) == pytest.approx([1, 3])
    first, second = build_table("cost", [wgan, at], with_paper=True).rows
    assert (first.labels[1], first.cells["seconds"].value) == ("AT", pytest.approx(2))
    assert second.cells["over_at"].value == pytest.approx(1.5)
    assert second.cells["over_at"].difference == pytest.approx(1.5 - 1.31)
    assert second.cells["over_trades"].value is None
    notes = "\n".join(build_table("cost", [wgan, at], with_paper=False).notes)
    assert "runs on digits have different thread counts" in notes
    assert "runs on digits have different precisions" in notes
    assert "standard deviation over the epochs of a run exceeds 10 % in at," in notes


def test_only_epochs_with_all_attack_steps_count(tmp_path: Path) -> None:
    speeds = steps({1: 10, 2: 1237 * 3, 3: 1237, 4: 1237 / 2, 5: 1237 / 2})
    grown = make_record(
        tmp_path, "grown", "digits_at", speeds, "attack.n_fgsm_epochs=1", "attack.steps_warmup_epochs=1"
    )
    assert cost.steady_epochs(grown) == pytest.approx([2, 2])
    (note,) = [note for note in build_table("cost", [grown], with_paper=False).notes if "fewer attack steps" in note]
    assert note.endswith(": grown.")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["train.schedule=one_cycle"], "one cycle"),
        (["train.schedule=cosine"], "cosine"),
        (["train.schedule=cosine", "train.warmup_fraction=0.05"], "cosine, warm-up 5%"),
    ],
)
def test_a_schedule_without_milestones_is_named(tmp_path: Path, keys: list[str], text: str) -> None:
    record = make_record(tmp_path, "cycle", "digits_at", [], "train.milestones=[]", *keys)
    (row,) = build_table("A1", [record], with_paper=False).rows
    assert row.cells["milestones"].value == text


def test_half_an_epoch_does_not_count(tmp_path: Path) -> None:
    assert cost.steady_epochs(make_record(tmp_path, "at", "digits_at", steps({1: 1})[:9])) == []


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("3", RecipeError, "no such table"),
        ("A2", RecipeError, "afdctl suites show paper-A2"),
        ("cots", RecipeError, "did you mean 'cost'"),
    ],
)
def test_an_unknown_table(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_name(name)


def test_a_table_without_a_suitable_run(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--table A5: needs a run of AFD"):
        build_table("A5", [make_record(tmp_path, "nt", "mnist_nt", [])], with_paper=True)
