"""Test Table 1: from journals to cells and notes."""

from pathlib import Path
from typing import Any

import pytest

from afdctl import registry
from afdctl.export.groups import Gap, training_gap
from afdctl.export.tables.base import Cell, Table, build_table
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.export.tables.sample_runs import DIGEST, Rows, cell_rows, make_record
from tests.journals import final_test, swept


def cell(table: Table, method: str, column: str) -> Cell:
    (row,) = (row for row in table.rows if row.labels[-1] == method)
    return row.cells[column]


def test_seeds_become_mean_and_sample_deviation(tmp_path: Path) -> None:
    runs = [
        make_record(tmp_path, f"at-{seed}", "mnist_at", cell_rows("pgd_linf", {0.3: accuracy}), f"seed={seed}")
        for seed, accuracy in enumerate([0.90, 0.92, 0.97])
    ]
    table = build_table("1", runs, with_paper=False)
    assert [row.runs for row in table.rows] == [("at-0", "at-1", "at-2")]
    measured = cell(table, "AT", "pgd_linf_wb")
    # mean 2.79 / 3; squares of -0.03, -0.01, 0.04 sum to 0.0026, over n - 1 = 2 that is 0.0013
    assert measured.value == pytest.approx(0.93)
    assert measured.std == pytest.approx(0.0013**0.5)
    assert any("MNIST AT 3 runs (seeds 0, 1, 2)" in note for note in table.notes)


def table_of_seeds(root: Path, *seeds: int) -> Table:
    rows = cell_rows("pgd_linf", {0.3: 0.9})
    runs = [make_record(root, f"at-{i}", "mnist_at", rows, f"seed={seed}") for i, seed in enumerate(seeds)]
    return build_table("1", runs, with_paper=False)


def test_the_same_seed_twice_is_no_second_sample(tmp_path: Path) -> None:
    table = table_of_seeds(tmp_path, 3, 3)
    measured = cell(table, "AT", "pgd_linf_wb")
    assert (measured.value, measured.std, len(measured.measurements)) == (0.9, None, 2)
    notes = " ".join(table.notes)
    assert "Mean without ±, because the runs have the same seed and are not independent: MNIST AT 2 runs." in notes
    assert "sample standard deviation" not in notes


def test_a_repeated_seed_among_others_is_noted(tmp_path: Path) -> None:
    table = table_of_seeds(tmp_path, 0, 1, 1)
    assert cell(table, "AT", "pgd_linf_wb").std == 0
    assert "(seeds 0, 1, 1; runs with the same seed are not independent)" in " ".join(table.notes)


def test_rows_are_in_the_papers_order_and_recipes_are_kept_apart(tmp_path: Path) -> None:
    runs = [
        make_record(tmp_path, name, of, [], *overrides)
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
    assert [row.labels for row in build_table("1", runs, with_paper=False).rows] == [
        ("mnist", "NT"),
        ("mnist", "AT (ma2)"),
        ("mnist", "AT (ma)"),
        ("mnist", "TRADES"),
        ("mnist", "AFD-DCGAN"),
        ("mnist", "AFD-WGAN"),
        ("cifar10", "AT"),
        ("digits", "AFD-WGAN"),
    ]


def test_published_values_and_rows_are_added(tmp_path: Path) -> None:
    runs = [make_record(tmp_path, "wgan", "mnist_wgan", cell_rows("aa", {0.3: 0.9212}))]
    table = build_table("1", runs, with_paper=True)
    measured = cell(table, "AFD-WGAN", "aa_linf_wb")
    assert (measured.value, measured.published) == (0.9212, 0.9012)
    assert measured.difference == pytest.approx(0.02)
    assert [row.labels[1] for row in table.rows] == ["NT", "AT", "TRADES", "AFD-DCGAN", "AFD-WGAN"]
    assert cell(table, "TRADES", "clean").gaps == (Gap("afdctl train mnist_trades"),)
    assert cell(table, "TRADES", "clean").published == pytest.approx(0.9914)


def test_missing_results_are_computed_by_few_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    done = [*cell_rows("pgd_linf", {0.3: 0.9}), *cell_rows("cw", {1.0: 0.9})]
    runs = [
        make_record(root, "nt", "mnist_nt", []),
        make_record(root, "at", "mnist_at", done),
        make_record(root, "wgan", "mnist_wgan", done),
    ]
    table = build_table("1", runs, with_paper=False)
    assert table.missing == [
        "afdctl sweep nt at wgan --suite paper-A2 --attacks pgd_linf,cw,aa",
        "afdctl sweep at wgan --suite paper-A2 --from nt --attacks pgd_linf,cw",
    ]
    assert cell(table, "NT", "pgd_linf_bb") == Cell()


@pytest.mark.parametrize("reason", ["diverged", "failed", "stopped"])
def test_an_unfinished_training_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    end: Rows = [{"event": "end", "step": 4, "reason": reason, "exit_code": 6, "message": None}]
    runs = [make_record(root, "nt", "mnist_nt", end), make_record(root, "at", "mnist_at", [])]
    table = build_table("1", runs, with_paper=False)
    assert f"nt {reason} before its first step." in table.notes
    assert table.missing[-1] == "afdctl sweep at --suite paper-A2 --from NT_RUN --attacks pgd_linf,cw"
    runs.append(make_record(root, "nt-002", "mnist_nt", []))
    assert "--from nt-002 " in build_table("1", runs, with_paper=False).missing[-1]


def test_a_value_of_some_seeds_only_is_named(tmp_path: Path) -> None:
    rows = {1: cell_rows("pgd_linf", {0.3: 0.9}), 2: [*cell_rows("pgd_linf", {0.3: 0.8}), *cell_rows("aa", {0.3: 0.7})]}
    runs = [make_record(tmp_path, f"at-{seed}", "mnist_at", of, f"seed={seed}") for seed, of in rows.items()]
    table = build_table("1", runs, with_paper=False)
    assert (cell(table, "AT", "aa_linf_wb").value, cell(table, "AT", "aa_linf_wb").std) == (0.7, None)
    assert "Averaged over only some of the row's runs: AA-L∞ 0.3 (WB) of MNIST AT." in table.notes


def test_an_epsilon_that_the_suite_lacks_is_in_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = [*cell_rows("pgd_linf", {0.1: 0.9}, "digits", n=360), *cell_rows("cw", {0.29: 0.9}, "digits", n=360)]
    runs = [make_record(tmp_path / "some where", "mine", "digits_nt", done)]
    table = build_table("1", runs, with_paper=False)
    assert table.missing == ["afdctl sweep 'some where/mine' --suite paper-A2 --epsilons 0,0.1 --attacks aa"]
    assert [column.title for column in table.columns][1:4] == ["PGD-L∞ 0.1 (WB)", "C&W-L2 0.29 (WB)", "AA-L∞ 0.1 (WB)"]


def test_black_box_images_are_those_of_nt(tmp_path: Path) -> None:
    rows = [
        *cell_rows("pgd_linf", {0.3: 0.8}, source="at"),
        *cell_rows("pgd_linf", {0.3: 0.7}, source="nt"),
        *cell_rows("pgd_linf", {0.3: 0.6}, source="gone"),
    ]
    make_record(tmp_path, "nt", "mnist_nt", [])
    runs = [make_record(tmp_path, "at", "mnist_at", []), make_record(tmp_path, "wgan", "mnist_wgan", rows)]
    table = build_table("1", runs, with_paper=False)
    assert cell(table, "AFD-WGAN", "pgd_linf_bb").value == 0.7
    assert "against nt." in table.notes[0]


def test_without_nt_black_box_needs_a_run_of_it(tmp_path: Path) -> None:
    table = build_table("1", [make_record(tmp_path, "wgan", "cifar10_wgan", [])], with_paper=False)
    path = tmp_path / "wgan"
    assert table.missing == [
        f"afdctl sweep {path} --suite paper-A2 --attacks pgd_linf,cw,aa",
        f"afdctl sweep {path} --suite paper-A2 --from NT_RUN --attacks pgd_linf,cw",
    ]


def searched(precision: str, rows: Rows) -> Rows:
    return [row | {"precision": precision} for row in rows]


def test_an_area_searched_in_bf16_is_noted_and_float32_is_not(tmp_path: Path) -> None:
    of = cell_rows("aa", {0.2: 0.9, 0.3: 0.8})
    for precision in ("bf16", "float32"):
        run = make_record(tmp_path, precision, "mnist_at", searched(precision, of))
        notes = "\n".join(build_table("2", [run], with_paper=False).notes)
        assert ("Precision of the attack's search: bf16." in notes) == (precision == "bf16")


def test_values_that_cannot_be_compared_are_noted(tmp_path: Path) -> None:
    sampled = [row | {"subset": "sample"} for row in cell_rows("aa", {0.3: 0.9}, n=500, seed=3)]
    runs = [
        make_record(tmp_path, "at", "mnist_at", cell_rows("aa", {0.3: 0.9})),
        make_record(tmp_path, "trades", "mnist_trades", searched("bf16", sampled)),
        make_record(tmp_path, "wgan", "mnist_wgan", cell_rows("pgd_linf", {0.3: 0.9}, checkpoint="c" * 64, steps=100)),
    ]
    notes = "\n".join(build_table("1", runs, with_paper=False).notes)
    assert "Test images: MNIST 1,000 (except TRADES 500 (random sample))." in notes
    assert "Attack seed: MNIST 0 (except TRADES 3)." in notes
    assert (
        "Precision of the attack's search: MNIST float32 (except TRADES bf16). Results are verified in float32,"
        in notes
    )
    assert "Checkpoint: MNIST best (except AFD-WGAN cccccccc)." in notes
    assert "PGD-L∞ 0.3 (WB) of MNIST AFD-WGAN: steps 100 (40)" in notes
    assert "No AutoAttack for MNIST AFD-WGAN." in notes
    # Wilson's interval of 450 of 500 is 0.8706 to 0.9233
    assert "at most ±2.9 percentage points" in notes


def test_a_run_whose_training_is_not_finished_is_named(tmp_path: Path) -> None:
    stopped = [
        {"event": "epoch", "epoch": 3, "step": 30, "best": True, "acc_nat": 0.5, "acc_adv": 0.4},
        {"event": "end", "step": 30, "reason": "stopped", "exit_code": 143, "message": None},
    ]
    runs = [make_record(tmp_path, "at", "mnist_at", stopped), make_record(tmp_path, "wgan", "mnist_wgan", [])]
    notes = build_table("1", runs, with_paper=False).notes
    assert "at stopped in epoch 3 of 8." in notes
    assert not any(note.startswith("wgan ") for note in notes)


def test_a_custom_model_has_its_own_row(tmp_path: Path) -> None:
    provenance = {"kind": "external", "dataset": "mnist", "model_digest": "d"}
    run = Run.create(tmp_path, "mine", None, provenance, name="mine")
    with run.open_journal() as journal:
        journal.extend(cell_rows("pgd_linf", {0.3: 0.4}, checkpoint="d"))
    runs = [Record.of(run), make_record(tmp_path, "at", "mnist_at", [])]
    table = build_table("1", runs, with_paper=False)
    assert [row.labels[1] for row in table.rows] == ["AT", "mine"]
    assert cell(table, "mine", "pgd_linf_wb").value == 0.4
    assert [row.labels[1] for row in build_table("A1", runs, with_paper=False).rows] == ["AT"]


def test_clean_accuracy_is_that_on_most_images_of_the_best_checkpoint(tmp_path: Path) -> None:
    def clean(name: str, *rows: dict[str, Any]) -> Any:
        table = build_table("1", [make_record(tmp_path, name, "mnist_at", list(rows))], with_paper=False)
        return cell(table, "AT", "clean")

    test = final_test(0.5, 0.1, n=200)
    tested = clean("tested", test)
    assert (tested.value, tested.only and tested.only.checkpoint) == (0.5, "best")
    full = cell_rows("aa", {0.3: 0.9}, acc_nat=0.75)
    assert clean("more", test, *full).value == 0.75
    few, other = (
        cell_rows("cw", {1: 0.9}, acc_nat=0.9, n=10),
        cell_rows("mim", {0.3: 0.9}, acc_nat=0.1, checkpoint="other"),
    )
    assert clean("fewer", test, *full, *few, *other).value == 0.75


@pytest.mark.parametrize(("name", "column"), [("1", "pgd_linf_wb"), ("2", "pgd_linf"), ("A3", None)])
def test_a_data_set_without_a_packaged_recipe_and_without_rows_in_table_a2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, column: str | None
) -> None:
    monkeypatch.setitem(registry.DATASETS.entries, "shapes", registry.Descriptor(place="no.module:Shapes"))
    run = Run.create(
        tmp_path, "mine", None, {"kind": "external", "dataset": "shapes", "model_digest": "d"}, name="mine"
    )
    with run.open_journal() as journal:
        journal.extend([*cell_rows("pgd_linf", {0.02: 0.6, 8 / 255: 0.4}), *cell_rows("cw", {1: 0.3})])
    (row,) = build_table(name, [Record.of(run)], with_paper=False).rows
    assert row.labels == ("shapes", "mine")
    assert column is None or row.cells[column].value


def test_a_training_is_suggested_only_for_a_packaged_recipe() -> None:
    assert training_gap("folder", "NT") is None
    assert training_gap("digits", "NT") == Gap("afdctl train digits_nt")


def paired(root: Path, name: str, recipe_name: str, robust: int, *overrides: str, n: int = 100) -> Record:
    run = make_record(root, name, recipe_name, [], *overrides).run
    swept(run, {0.3: robust / n}, n=n, checkpoint=DIGEST)
    return Record.of(run)


def mcnemar_notes(runs: list[Record]) -> list[str]:
    return [
        note for note in build_table("1", runs, with_paper=False).notes if "under AA" in note or "under PGD" in note
    ]


def test_rows_are_compared_on_the_images_that_they_share(tmp_path: Path) -> None:
    at, wgan = paired(tmp_path, "at", "mnist_at", 50), paired(tmp_path, "wgan", "mnist_wgan", 40)
    nt = make_record(tmp_path, "nt", "mnist_nt", cell_rows("pgd_linf", {0.3: 0.1}))
    # 0 against 10 discordant images: 2 / 2 ** 10
    assert mcnemar_notes([at, wgan, nt]) == [
        "McNemar under AA-L∞ 0.3 on MNIST, 100 shared images: AFD-WGAN against AT: p = 0.002."
    ]
    other = make_record(tmp_path, "other", "mnist_trades", [], data_digest="e").run
    swept(other, {0.3: 0.2}, checkpoint=DIGEST)
    assert mcnemar_notes([at, Record.of(other)]) == [
        "Not compared under AA-L∞ 0.3 on MNIST: TRADES against AT: other data."
    ]


def test_rows_of_several_seeds_are_compared_seed_by_seed(tmp_path: Path) -> None:
    runs = [paired(tmp_path, f"at-{seed}", "mnist_at", 50, f"seed={seed}") for seed in (0, 1)]
    runs += [paired(tmp_path, f"wgan-{seed}", "mnist_wgan", 50 - 4 * seed, f"seed={seed}") for seed in (0, 1, 2)]
    assert mcnemar_notes(runs) == [
        "McNemar under AA-L∞ 0.3 on MNIST, 100 shared images: AFD-WGAN against AT: p = 1, p = 0.12."
    ]
