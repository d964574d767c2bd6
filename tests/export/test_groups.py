"""Runs as rows and curves."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from afdctl.export.figures.style import LINE_STYLES, line_styles, spread
from afdctl.export.groups import grouped, plot_groups
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.export.figures.made import record


def test_seeds_are_one_group_in_the_papers_order(tmp_path: Path):
    names = [("digits_wgan", 1), ("digits_trades", 0), ("digits_nt", 0), ("digits_wgan", 0)]
    groups = grouped(record(tmp_path, name, seed=seed) for name, seed in names)
    assert [(group.label, len(group.records)) for group in groups] == [("NT", 1), ("TRADES", 1), ("AFD-WGAN", 2)]


def test_two_recipes_of_one_method_are_told_apart(tmp_path: Path):
    groups = grouped([record(tmp_path, "mnist_wgan"), record(tmp_path, "mnist_wgan_fc3"), record(tmp_path, "mnist_nt")])
    assert [group.label for group in groups] == ["NT", "AFD-WGAN (mnist_wgan-0)", "AFD-WGAN (mnist_wgan_fc3-0)"]
    styles = line_styles(groups)
    assert styles["NT"] == LINE_STYLES["NT"]
    assert styles["AFD-WGAN (mnist_wgan-0)"] == LINE_STYLES["AFD-WGAN"]
    assert len(set(styles.values())) == 3


def test_a_runs_name_is_drawn_letter_by_letter(tmp_path: Path):
    one = record(tmp_path, "mnist_wgan")
    other = record(tmp_path, "mnist_wgan_fc3")
    strange = other.run.path.rename(other.run.path.with_name("a$\\frac$\x1b[31m"))
    label = plot_groups([one, Record.of(Run(strange))])[1].label
    assert label == r"AFD-WGAN (a\$\frac\$\x1b[31m)"
    figure = Figure()
    figure.supxlabel(label)
    figure.savefig(tmp_path / "x.svg")


def test_a_model_of_ones_own_on_two_data_sets_is_two_groups(tmp_path: Path):
    for dataset in ("mnist", "fashion_mnist"):
        facts = {"kind": "external", "dataset": dataset, "model_digest": "same", "data_digest": dataset}
        Run.create(tmp_path, "theirs", None, facts, name=f"theirs-{dataset}")
    groups = grouped(Record.of(run) for run in Run.all(tmp_path))
    assert sorted((group.dataset, len(group.records)) for group in groups) == [("fashion_mnist", 1), ("mnist", 1)]


def test_labels_are_distinct_across_data_sets_only_in_figures(tmp_path: Path):
    records = [record(tmp_path, name) for name in ("digits_nt", "mnist_nt")]
    assert [group.label for group in grouped(records)] == ["NT", "NT"]
    assert [group.label for group in plot_groups(records)] == ["NT (mnist_nt-0)", "NT (digits_nt-0)"]


def test_looks_differ_without_colour():
    assert len({(str(look.dashes), look.marker) for look in LINE_STYLES.values()}) == len(LINE_STYLES)
    assert len({look.marker for look in LINE_STYLES.values()}) == len(LINE_STYLES)


def test_a_spread_is_the_mean_and_the_sample_deviation_where_all_have_a_value():
    found = spread([{0.0: 0.9, 0.1: 0.5, 0.2: 0.1}, {0.0: 0.9, 0.1: 0.7}])
    assert found is not None
    assert found.x.tolist() == [0, 0.1]
    assert found.mean.tolist() == pytest.approx([0.9, 0.6])
    # two values a and b: |a - b| / sqrt(2)
    assert found.deviation is not None
    assert found.deviation.tolist() == pytest.approx([0, 0.2 / 2**0.5])


def test_one_run_has_no_deviation_and_none_has_no_curve():
    found = spread([{0.1: 0.5}])
    assert found is not None
    assert found.deviation is None
    assert spread([]) is None
