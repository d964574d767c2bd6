"""Test the figures of the analyses by reading their panels."""

from pathlib import Path

import numpy as np
import pytest

from afdctl.export.figures.divergence import hdh
from afdctl.export.figures.embedding import CLASS_COLOURS, tsne
from afdctl.export.figures.features import norms, pca, sensitivity, units
from afdctl.export.figures.page import analysis_arrays
from tests.export.figures import sample_runs


def test_sensitivity_has_a_panel_for_each_data_set(tmp_path: Path, panel_of, curve_of):
    runs = [
        sample_runs.with_sensitivity(sample_runs.make_record(tmp_path, name), [0.2, 0.4], [0.1, 0.3])
        for name in ("digits_nt", "mnist_nt", "mnist_wgan")
    ]
    page = sensitivity(runs)
    assert [panel.get_title(loc="left") for panel in page.axes] == ["digits", "MNIST"]
    panel = panel_of(page, "MNIST")
    assert curve_of(panel, "NT") == ([0.1, 0.3], [0.2, 0.4])
    assert curve_of(panel, "AFD-WGAN") == ([0.1, 0.3], [0.2, 0.4])
    # the bars reach from median - deviation to median + deviation
    bars = np.array([path.vertices[:, 1] for path in panel.containers[0][2][0].get_paths()])
    assert bars == pytest.approx(np.array([[0.1, 0.3], [0.1, 0.7]]))


def test_medians_of_seeds_are_averaged(tmp_path: Path, panel_of, curve_of):
    runs = [
        sample_runs.with_sensitivity(sample_runs.make_record(tmp_path, "digits_at", seed=seed), [value], [deviation])
        for seed, value, deviation in ((0, 0.2, 0.1), (1, 0.4, 0.3))
    ]
    panel = panel_of(sensitivity(runs), "digits")
    assert curve_of(panel, "AT")[1] == pytest.approx([0.3])
    assert panel.containers[0][2][0].get_paths()[0].vertices[:, 1].tolist() == pytest.approx([0.1, 0.5])


def test_seeds_without_a_common_epsilon_are_not_averaged(tmp_path: Path, panel_of):
    one = sample_runs.with_sensitivity(sample_runs.make_record(tmp_path, "digits_at", seed=0), [0.2], [0.1])
    other = sample_runs.with_sensitivity(sample_runs.make_record(tmp_path, "digits_at", seed=1), [0.4], [0.1])
    other.analyses["sensitivity"]["metrics"]["epsilons"] = [0.2]
    page = sensitivity([one, other])
    assert not panel_of(page, "digits").get_lines()
    page.draw_without_rendering()


def test_norms_have_three_panels_with_natural_images_as_a_line(tmp_path: Path, panel_of, curve_of):
    page = norms([sample_runs.with_norms(sample_runs.make_record(tmp_path, "digits_at"))])
    for title, medians in {"Feature norm": [1, 2, 3], "Logit scale": [10, 20, 30], "Margin": [0.3, 0.2, 0.1]}.items():
        panel = panel_of(page, title)
        assert curve_of(panel, "AT") == ([0, 0.1, 0.3], pytest.approx(medians))
        assert panel.get_lines()[-1].get_ydata() == pytest.approx([medians[0]] * 2)


def test_the_dims_are_marked_on_the_variance(tmp_path: Path, curve_of):
    page = pca([sample_runs.with_pca(sample_runs.make_record(tmp_path, "digits_wgan"), [0.5, 0.9, 0.99, 1.0], dims=3)])
    (panel,) = page.axes
    assert curve_of(panel, "AFD-WGAN") == ([1, 2, 3, 4], pytest.approx([50, 90, 99, 100]))
    mark = panel.get_lines()[-1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == pytest.approx((3, 99))
    assert page.legends[0].get_texts()[0].get_text() == "AFD-WGAN: 3 dims"
    assert any(line.get_ydata() == pytest.approx([99, 99]) for line in panel.get_lines()), "the line at 99 %"


def test_units_are_sorted_and_counted_over_seeds(tmp_path: Path, curve_of):
    runs = [
        sample_runs.with_units(sample_runs.make_record(tmp_path, "digits_at", seed=seed), largest)
        for seed, largest in enumerate(([0.0, 3.0, 1.0], [5.0, 0.0, 0.0]))
    ]
    page = units(runs)
    assert curve_of(page.axes[0], "AT") == ([1, 2, 3], pytest.approx([4, 0.5, 0]))
    assert page.legends[0].get_texts()[0].get_text() == "AT: 1.5 ± 0.7 units"


def test_figure_3_plots_the_gap_over_d(tmp_path: Path, panel_of, curve_of):
    page = hdh([sample_runs.with_hdh(sample_runs.make_record(tmp_path, "digits_wgan"))])
    along = panel_of(page, "(a) AFD-WGAN")
    assert curve_of(along, "raw")[1] == pytest.approx([0.2, 0.6])
    assert curve_of(along, "calibrated")[1] == pytest.approx([0.36, 1.08])
    assert curve_of(along, "probe") == ([0.1, 0.3], pytest.approx([0.4, 1.2]))
    gaps = page.axes[-1]
    assert curve_of(gaps, "gap") == ([0.1, 0.3], [0.2, 0.6])
    # d / 2 and the gap are at one height
    assert (along.get_ylim(), gaps.get_ylim()) == ((0, 2), (0, 1))
    assert (gaps.get_ylabel(), gaps.yaxis.get_label_position()) == ("Error gap", "right")
    scatter = panel_of(page, "(b) calibrated")
    dots = [(x, y) for line in scatter.get_lines()[1:] for x, y in zip(*line.get_data(), strict=True)]
    assert np.array(dots) == pytest.approx(np.array([(0.36, 0.2), (1.08, 0.6), (0.18, 0.1), (0.54, 0.3)]))
    assert scatter.get_title(loc="left") == "(b) calibrated\nr 0.95 [0.90, 0.98]"


def test_a_run_without_a_discriminator_has_the_probe_only(tmp_path: Path):
    alone = hdh([sample_runs.with_hdh(sample_runs.make_record(tmp_path, "digits_at"), own=False)])
    assert len(alone.axes) == 3, "(a) with its two axes, and one scatter"
    together = hdh(
        [
            *map(sample_runs.with_hdh, [sample_runs.make_record(tmp_path, "digits_wgan")]),
            sample_runs.with_hdh(sample_runs.make_record(tmp_path, "digits_nt"), own=False),
        ]
    )
    texts = [text.get_text() for panel in together.axes for text in panel.texts]
    assert texts == ["trained without\na discriminator"] * 2


def test_an_attack_that_one_run_lacks_leaves_room_for_all(tmp_path: Path, panel_of):
    """A line without a point that may leave its panel once made matplotlib give up the layout, with a warning."""
    fewer = sample_runs.with_hdh(sample_runs.make_record(tmp_path, "digits_wgan"), attacks=["pgd_linf"])
    page = hdh([fewer, sample_runs.with_hdh(sample_runs.make_record(tmp_path, "digits_dcgan"))])
    page.draw_without_rendering()
    assert len(page.axes[-1].get_lines()) == 1


def test_an_embedding_has_natural_images_on_top_and_a_row_per_method(tmp_path: Path):
    runs = [sample_runs.with_map(sample_runs.make_record(tmp_path, name)) for name in ("digits_wgan", "digits_nt")]
    page = tsne(runs)
    grid = np.reshape(page.axes, (3, 3))
    assert [panel.get_title() for panel in grid[0]] == ["NT", "AFD-WGAN", ""]
    assert [panel.get_ylabel() for panel in grid[1:, 0]] == ["NT", "AFD-WGAN"]
    assert [panel.get_title() for panel in grid[1]] == ["natural", r"$\epsilon$ = 0.1", r"$\epsilon$ = 0.3"]
    points = analysis_arrays(runs[0], "tsne")["points"]
    under, right, wrong = (np.asarray(one.get_offsets()) for one in grid[2, 2].collections)
    assert np.array_equal(under, points[0])
    assert np.array_equal(wrong, points[2][::5]), "the misclassified have a marker of their own"
    assert len(right) + len(wrong) == len(points[2])
    assert all(dots.get_rasterized() for panel in page.axes for dots in panel.collections)


def test_classes_have_distinct_colours(tmp_path: Path):
    page = tsne([sample_runs.with_map(sample_runs.make_record(tmp_path, "digits_at"))])
    assert len(page.axes) == 3, "one method has no row above"
    colours = page.axes[0].collections[0].get_facecolor()
    assert len(np.unique(colours, axis=0)) == len(CLASS_COLOURS)
    assert [text.get_text() for text in page.axes[0].texts] == [str(number) for number in range(10)]
    many = tsne([sample_runs.with_map(sample_runs.make_record(tmp_path, "cifar100_at"), classes=100)])
    assert len(np.unique(many.axes[0].collections[0].get_facecolor(), axis=0)) == 100
    assert not many.axes[0].texts


def test_the_same_seed_twice_has_no_deviation(tmp_path: Path):
    runs = [sample_runs.make_record(tmp_path / folder, "digits_at") for folder in "ab"]
    (legend,) = pca([sample_runs.with_pca(run, [0.9, 1.0], 2) for run in runs]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["AT: 2.0 dims"]
    titles = [panel.get_title(loc="left") for panel in hdh([sample_runs.with_hdh(run) for run in runs]).axes]
    assert not [title for title in titles if "±" in title]
