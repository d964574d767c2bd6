"""Table 1: from journals to cells, and what is said of them."""

from pathlib import Path
from typing import Any

import pytest

from afdctl import registry
from afdctl.export import hints, tables
from afdctl.export.tables.base import Cell, Table
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.export.tables.made import Rows, cells, record
from tests.journals import final_test


def cell(table: Table, method: str, column: str) -> Cell:
    (row,) = (row for row in table.rows if row.labels[-1] == method)
    return row.cells[column]


def test_seeds_become_mean_and_sample_deviation(tmp_path: Path) -> None:
    runs = [
        record(tmp_path, f"at-{seed}", "mnist_at", cells("pgd_linf", {0.3: accuracy}), f"seed={seed}")
        for seed, accuracy in enumerate([0.90, 0.92, 0.97])
    ]
    table = tables.build("1", runs, with_paper=False)
    assert [row.runs for row in table.rows] == [("at-0", "at-1", "at-2")]
    found = cell(table, "AT", "pgd_linf_wb")
    # mean 2.79 / 3; squares of -0.03, -0.01, 0.04 sum to 0.0026, over n - 1 = 2 that is 0.0013
    assert found.value == pytest.approx(0.93)
    assert found.std == pytest.approx(0.0013**0.5)
    assert any("MNIST AT 3 runs (seeds 0, 1, 2)" in note for note in table.notes)


def test_the_same_seed_twice_is_said(tmp_path: Path) -> None:
    runs = [record(tmp_path, f"at-{number}", "mnist_at", cells("pgd_linf", {0.3: 0.9})) for number in (1, 2)]
    assert "some of them twice" in " ".join(tables.build("1", runs, with_paper=False).notes)


def test_rows_are_in_the_papers_order_and_recipes_are_kept_apart(tmp_path: Path) -> None:
    runs = [
        record(tmp_path, name, of, [], *overrides)
        for name, of, overrides in [
            ("dw", "digits_wgan", ()),
            ("c", "cifar10_at", ()),
            ("mw", "mnist_wgan", ()),
            ("md", "mnist_dcgan", ()),
            ("mt", "mnist_trades", ()),
            ("ma2", "mnist_at", ("train.epochs=80",)),
            ("ma", "mnist_at", ()),
            ("mn", "mnist_nt", ()),
        ]
    ]
    assert [row.labels for row in tables.build("1", runs, with_paper=False).rows] == [
        ("mnist", "NT"),
        ("mnist", "AT (ma2)"),
        ("mnist", "AT (ma)"),
        ("mnist", "TRADES"),
        ("mnist", "AFD-DCGAN"),
        ("mnist", "AFD-WGAN"),
        ("cifar10", "AT"),
        ("digits", "AFD-WGAN"),
    ]


def test_the_papers_figures_and_rows_stand_beside(tmp_path: Path) -> None:
    runs = [record(tmp_path, "wgan", "mnist_wgan", cells("aa", {0.3: 0.9212}))]
    table = tables.build("1", runs, with_paper=True)
    found = cell(table, "AFD-WGAN", "aa_linf_wb")
    assert (found.value, found.published) == (0.9212, 0.9012)
    assert found.difference == pytest.approx(0.02)
    assert [row.labels[1] for row in table.rows] == ["NT", "AT", "TRADES", "AFD-DCGAN", "AFD-WGAN"]
    assert cell(table, "TRADES", "clean").gaps == (hints.Gap("afdctl train mnist_trades"),)
    assert cell(table, "TRADES", "clean").published == pytest.approx(0.9914)


def test_what_is_missing_is_made_by_few_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    done = [*cells("pgd_linf", {0.3: 0.9}), *cells("cw", {1.0: 0.9})]
    runs = [
        record(root, "nt", "mnist_nt", []),
        record(root, "at", "mnist_at", done),
        record(root, "wgan", "mnist_wgan", done),
    ]
    table = tables.build("1", runs, with_paper=False)
    assert table.missing == [
        "afdctl sweep nt at wgan --suite paper-A2 --attacks pgd_linf,cw,aa",
        "afdctl sweep at wgan --suite paper-A2 --from nt --attacks pgd_linf,cw",
    ]
    assert cell(table, "NT", "pgd_linf_bb") == Cell()


def test_a_value_of_some_seeds_only_is_named(tmp_path: Path) -> None:
    rows = {1: cells("pgd_linf", {0.3: 0.9}), 2: [*cells("pgd_linf", {0.3: 0.8}), *cells("aa", {0.3: 0.7})]}
    runs = [record(tmp_path, f"at-{seed}", "mnist_at", of, f"seed={seed}") for seed, of in rows.items()]
    table = tables.build("1", runs, with_paper=False)
    assert (cell(table, "AT", "aa_linf_wb").value, cell(table, "AT", "aa_linf_wb").std) == (0.7, None)
    assert "Over fewer runs than the row has: AA-L∞ 0.3 (WB) of MNIST AT." in table.notes


def test_an_epsilon_that_the_suite_lacks_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = [*cells("pgd_linf", {0.1: 0.9}, "digits", n=360), *cells("cw", {0.29: 0.9}, "digits", n=360)]
    runs = [record(tmp_path / "elsewhere", "my run", "digits_nt", done)]
    table = tables.build("1", runs, with_paper=False)
    assert table.missing == ["afdctl sweep 'elsewhere/my run' --suite paper-A2 --epsilons 0,0.1 --attacks aa"]
    assert [column.title for column in table.columns][1:4] == ["PGD-L∞ 0.1 (WB)", "C&W-L2 0.29 (WB)", "AA-L∞ 0.1 (WB)"]


def test_black_box_images_are_those_of_nt(tmp_path: Path) -> None:
    rows = [
        *cells("pgd_linf", {0.3: 0.8}, source="at"),
        *cells("pgd_linf", {0.3: 0.7}, source="nt"),
        *cells("pgd_linf", {0.3: 0.6}, source="gone"),
    ]
    record(tmp_path, "nt", "mnist_nt", [])
    runs = [record(tmp_path, "at", "mnist_at", []), record(tmp_path, "wgan", "mnist_wgan", rows)]
    table = tables.build("1", runs, with_paper=False)
    assert cell(table, "AFD-WGAN", "pgd_linf_bb").value == 0.7
    assert "against nt." in table.notes[0]


def test_without_nt_black_box_needs_a_run_of_it(tmp_path: Path) -> None:
    table = tables.build("1", [record(tmp_path, "wgan", "cifar10_wgan", [])], with_paper=False)
    path = tmp_path / "wgan"
    assert table.missing == [
        f"afdctl sweep {path} --suite paper-A2 --attacks pgd_linf,cw,aa",
        f"afdctl sweep {path} --suite paper-A2 --from NT_RUN --attacks pgd_linf,cw",
    ]


def searched(precision: str, rows: Rows) -> Rows:
    return [row | {"precision": precision} for row in rows]


def test_an_area_searched_in_bf16_is_told_and_float32_is_not(tmp_path: Path) -> None:
    of = cells("aa", {0.2: 0.9, 0.3: 0.8})
    for precision in ("bf16", "float32"):
        run = record(tmp_path, precision, "mnist_at", searched(precision, of))
        notes = "\n".join(tables.build("2", [run], with_paper=False).notes)
        assert ("Precision of the search: bf16." in notes) == (precision == "bf16")


def test_figures_that_cannot_be_compared_are_told(tmp_path: Path) -> None:
    runs = [
        record(tmp_path, "at", "mnist_at", cells("aa", {0.3: 0.9})),
        record(tmp_path, "trades", "mnist_trades", searched("bf16", cells("aa", {0.3: 0.9}, n=500, seed=3))),
        record(tmp_path, "wgan", "mnist_wgan", cells("pgd_linf", {0.3: 0.9}, checkpoint="c" * 64, steps=100)),
    ]
    notes = "\n".join(tables.build("1", runs, with_paper=False).notes)
    assert "Test images: MNIST 1,000 (but TRADES 500)." in notes
    assert "Seed of the attacks: MNIST 0 (but TRADES 3)." in notes
    assert "Precision of the search: MNIST float32 (but TRADES bf16). Verified in float32;" in notes
    assert "Checkpoint: MNIST best (but AFD-WGAN cccccccc)." in notes
    assert "PGD-L∞ 0.3 (WB) of MNIST AFD-WGAN: steps 100 (40)" in notes
    assert "No AutoAttack for MNIST AFD-WGAN:" in notes
    # Wilson's interval of 450 of 500 is 0.8706 to 0.9233
    assert "at most 2.9 points" in notes


def test_a_run_whose_training_is_not_finished_is_named(tmp_path: Path) -> None:
    stopped = [
        {"event": "epoch", "epoch": 3, "step": 30, "best": True, "acc_nat": 0.5, "acc_adv": 0.4},
        {"event": "end", "step": 30, "reason": "stopped", "exit_code": 143, "message": None},
    ]
    runs = [record(tmp_path, "at", "mnist_at", stopped), record(tmp_path, "wgan", "mnist_wgan", [])]
    notes = tables.build("1", runs, with_paper=False).notes
    assert "at stopped at epoch 3 of 100." in notes
    assert not any(note.startswith("wgan ") for note in notes)


def test_a_model_of_ones_own_has_a_row_of_its_own(tmp_path: Path) -> None:
    facts = {"kind": "external", "dataset": "mnist", "model_digest": "d"}
    run = Run.create(tmp_path, "mine", None, facts, name="mine")
    with run.open_journal() as journal:
        journal.extend(cells("pgd_linf", {0.3: 0.4}, checkpoint="d"))
    runs = [Record.of(run), record(tmp_path, "at", "mnist_at", [])]
    table = tables.build("1", runs, with_paper=False)
    assert [row.labels[1] for row in table.rows] == ["AT", "mine"]
    assert cell(table, "mine", "pgd_linf_wb").value == 0.4
    assert [row.labels[1] for row in tables.build("A1", runs, with_paper=False).rows] == ["AT"]


def test_clean_is_of_the_measurement_on_most_images_of_the_best_checkpoint(tmp_path: Path) -> None:
    def clean(name: str, *rows: dict[str, Any]) -> Any:
        table = tables.build("1", [record(tmp_path, name, "mnist_at", list(rows))], with_paper=False)
        return cell(table, "AT", "clean")

    test = final_test(0.5, 0.1, n=200)
    found = clean("tested", test)
    assert (found.value, found.only and found.only.checkpoint) == (0.5, "best")
    full = cells("aa", {0.3: 0.9}, acc_nat=0.75)
    assert clean("more", test, *full).value == 0.75
    few, other = cells("cw", {1: 0.9}, acc_nat=0.9, n=10), cells("mim", {0.3: 0.9}, acc_nat=0.1, checkpoint="other")
    assert clean("fewer", test, *full, *few, *other).value == 0.75


@pytest.mark.parametrize(("name", "column"), [("1", "pgd_linf_wb"), ("2", "pgd_linf"), ("A3", None)])
def test_a_data_set_without_a_packaged_recipe_and_without_rows_in_table_a2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, column: str | None
) -> None:
    monkeypatch.setattr(registry, "DATASETS", {**registry.DATASETS, "shapes": "no.module:Shapes"})
    run = Run.create(
        tmp_path, "mine", None, {"kind": "external", "dataset": "shapes", "model_digest": "d"}, name="mine"
    )
    with run.open_journal() as journal:
        journal.extend([*cells("pgd_linf", {0.02: 0.6, 8 / 255: 0.4}), *cells("cw", {1: 0.3})])
    (row,) = tables.build(name, [Record.of(run)], with_paper=False).rows
    assert row.labels == ("shapes", "mine")
    assert column is None or row.cells[column].value


def test_no_recipe_is_named_that_there_is_none_of() -> None:
    assert hints.train("folder", "NT") is None
    assert hints.train("digits", "NT") == hints.Gap("afdctl train digits_nt")
