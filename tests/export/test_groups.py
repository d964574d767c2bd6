"""Test grouping of runs into rows and curves."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from afdctl.export.figures.style import line_styles, mean_over_runs, method_styles
from afdctl.export.groups import group_runs, plot_groups
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.export.figures.sample_runs import make_record


def test_seeds_are_one_group_in_the_papers_order(tmp_path: Path):
    names = [("digits_wgan", 1), ("digits_trades", 0), ("digits_nt", 0), ("digits_wgan", 0)]
    groups = group_runs(make_record(tmp_path, name, seed=seed) for name, seed in names)
    assert [(group.label, len(group.records)) for group in groups] == [("NT", 1), ("TRADES", 1), ("AFD-WGAN", 2)]


def test_a_method_with_an_addition_follows_the_plain_one(tmp_path: Path):
    names = ["digits_mart", "digits_at_awp", "digits_fgsm_rs", "digits_trades", "digits_at_he", "digits_at"]
    groups = group_runs(make_record(tmp_path, name) for name in names)
    assert [group.label for group in groups] == ["AT", "AT-AWP", "AT-HE", "FGSM-RS", "TRADES", "MART"]


def test_two_recipes_of_one_method_have_distinct_labels(tmp_path: Path):
    groups = group_runs(
        [
            make_record(tmp_path, "mnist_wgan"),
            make_record(tmp_path, "mnist_wgan_fc3"),
            make_record(tmp_path, "mnist_nt"),
        ]
    )
    assert [group.label for group in groups] == ["NT", "AFD-WGAN (mnist_wgan-0)", "AFD-WGAN (mnist_wgan_fc3-0)"]
    styles = line_styles(groups)
    assert styles["NT"] == method_styles()["NT"]
    assert styles["AFD-WGAN (mnist_wgan-0)"] == method_styles()["AFD-WGAN"]
    assert len(set(styles.values())) == 3


def test_a_runs_name_is_drawn_letter_by_letter(tmp_path: Path):
    one = make_record(tmp_path, "mnist_wgan")
    other = make_record(tmp_path, "mnist_wgan_fc3")
    strange = other.run.path.rename(other.run.path.with_name("a$\\frac$\x1b[31m"))
    label = plot_groups([one, Record.of(Run(strange))])[1].label
    assert label == r"AFD-WGAN (a\$\frac\$\x1b[31m)"
    figure = Figure()
    figure.supxlabel(label)
    figure.savefig(tmp_path / "x.svg")


def test_a_custom_model_on_two_data_sets_is_two_groups(tmp_path: Path):
    for dataset in ("mnist", "fashion_mnist"):
        provenance = {"kind": "external", "dataset": dataset, "model_digest": "same", "data_digest": dataset}
        Run.create(tmp_path, "theirs", None, provenance, name=f"theirs-{dataset}")
    groups = group_runs(Record.of(run) for run in Run.all(tmp_path))
    assert sorted((group.dataset, len(group.records)) for group in groups) == [("fashion_mnist", 1), ("mnist", 1)]


def test_a_recipe_with_two_files_of_extra_images_is_two_groups(tmp_path: Path):
    facts = {"kind": "external", "dataset": "mnist", "model_digest": "same", "data_digest": "same"}
    for extra in ("a", "b"):
        Run.create(tmp_path, "run", None, facts | {"extra_digest": extra}, name=f"run-{extra}")
    assert len(group_runs(Record.of(run) for run in Run.all(tmp_path))) == 2


def test_labels_are_distinct_across_data_sets_only_in_figures(tmp_path: Path):
    records = [make_record(tmp_path, name) for name in ("digits_nt", "mnist_nt")]
    assert [group.label for group in group_runs(records)] == ["NT", "NT"]
    assert [group.label for group in plot_groups(records)] == ["NT (mnist_nt-0)", "NT (digits_nt-0)"]


def test_line_styles_differ_without_colour():
    assert len({(str(style.dashes), style.marker) for style in method_styles().values()}) == len(method_styles())
    assert len({style.marker for style in method_styles().values()}) == len(method_styles())


def test_the_mean_over_runs_is_taken_where_all_have_a_value():
    curve = mean_over_runs([{0.0: 0.9, 0.1: 0.5, 0.2: 0.1}, {0.0: 0.9, 0.1: 0.7}])
    assert curve is not None
    assert curve.x.tolist() == [0, 0.1]
    assert curve.mean.tolist() == pytest.approx([0.9, 0.6])
    # two values a and b: |a - b| / sqrt(2)
    assert curve.deviation is not None
    assert curve.deviation.tolist() == pytest.approx([0, 0.2 / 2**0.5])


def test_one_run_has_no_deviation_and_no_run_no_curve():
    curve = mean_over_runs([{0.1: 0.5}])
    assert curve is not None
    assert curve.deviation is None
    assert mean_over_runs([]) is None
