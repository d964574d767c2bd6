"""Test Figures 2, A1 to A3 and A5 by reading their panels."""

from pathlib import Path

import pytest

from afdctl.errors import RecipeError
from afdctl.export.figures.robustness import TITLES, robustness
from afdctl.runs.curves import wilson
from tests.export.figures.sample_runs import N, make_record, sweep_rows

FGSM = {"fgsm": {0.3: 0.2, 0.1: 0.6}}


def test_the_panels_are_the_papers_attacks(tmp_path: Path):
    page = robustness([make_record(tmp_path, "mnist_at", sweep_rows(FGSM))])
    assert [panel.get_title(loc="left") for panel in page.axes] == list(TITLES.values())
    assert len(page.axes) == 9
    assert page.title == "Adversarial accuracy on MNIST"
    assert page.runs == ["mnist_at-0"]
    assert page.get_figwidth() == 5.5


def test_a_curve_is_clean_accuracy_and_then_the_cells_in_percent(tmp_path: Path, panel_of, curve_of, band_of):
    page = robustness([make_record(tmp_path, "digits_at", sweep_rows(FGSM, acc_nat=0.9))])
    panel = panel_of(page, "FGSM")
    x, y = curve_of(panel, "AT")
    assert x == [0, 0.1, 0.3]
    assert y == pytest.approx([90, 60, 20])
    band = band_of(panel)
    for epsilon, accuracy in {0: 0.9, 0.1: 0.6, 0.3: 0.2}.items():
        assert band[epsilon] == pytest.approx(tuple(100 * one for one in wilson(round(accuracy * N), N)))


def test_seeds_are_their_mean_and_one_deviation(tmp_path: Path, panel_of, curve_of, band_of):
    runs = [
        make_record(tmp_path, "digits_at", sweep_rows({"fgsm": {0.1: at}}), seed=seed)
        for seed, at in enumerate((0.5, 0.6, 0.7))
    ]
    page = robustness(runs)
    panel = panel_of(page, "FGSM")
    assert curve_of(panel, "AT")[1] == pytest.approx([90, 60])
    assert band_of(panel)[0.1] == pytest.approx((50, 70))
    assert "one standard deviation over up to 3 runs" in page._supxlabel.get_text()


def test_missing_curves_are_named_in_their_panels(tmp_path: Path, panel_of):
    nt, at = (
        make_record(tmp_path, "digits_nt", sweep_rows({"mim": {0.1: 0.5}})),
        make_record(tmp_path, "digits_at", sweep_rows(FGSM)),
    )
    page = robustness([make_record(tmp_path, "digits_wgan"), nt, at])
    assert panel_of(page, "FGSM").get_title(loc="right") == "no NT"
    empty = panel_of(page, "AutoAttack")
    assert "afdctl sweep RUN --suite paper-A2 --attacks aa" in " ".join(empty.texts[0].get_text().split())
    assert not empty.get_lines()
    (legend,) = page.legends
    assert [text.get_text() for text in legend.get_texts()] == ["NT", "AT"]
    assert "no results yet: AFD-WGAN" in page._supxlabel.get_text()


def test_the_caption_has_the_number_of_images(tmp_path: Path):
    runs = [
        make_record(tmp_path, "mnist_nt", sweep_rows(FGSM, n=500)),
        make_record(tmp_path, "mnist_at", sweep_rows(FGSM, n=10000)),
    ]
    assert "n = 500 to 10,000" in robustness(runs)._supxlabel.get_text()


def saved(digest: str, best: bool) -> dict[str, object]:
    return {"event": "checkpoint", "step": 1, "epoch": 1, "file": "x", "digest": digest, "best": best}


def test_the_caption_names_a_checkpoint_other_than_the_best(tmp_path: Path):
    best = make_record(tmp_path, "digits_nt", [saved("d1", True), *sweep_rows(FGSM)])
    last = make_record(tmp_path, "digits_at", [saved("d0", True), saved("d1", False), *sweep_rows(FGSM)])
    assert "checkpoint" not in robustness([best])._supxlabel.get_text()
    assert "checkpoint: last." in robustness([last])._supxlabel.get_text()
    assert "checkpoints: best (NT), last (AT)." in " ".join(robustness([last, best])._supxlabel.get_text().split())


def test_the_caption_names_attacks_searched_in_bf16(tmp_path: Path):
    rows = [*sweep_rows({"mim": {0.1: 0.5}}), *(row | {"precision": "bf16"} for row in sweep_rows(FGSM))]
    caption = robustness([make_record(tmp_path, "digits_at", rows)])._supxlabel.get_text()
    assert "searched in bf16: FGSM." in " ".join(caption.split())


def test_black_box_cells_are_not_drawn(tmp_path: Path, panel_of):
    rows = [row | {"source": "digits_nt"} for row in sweep_rows(FGSM)]
    assert not panel_of(robustness([make_record(tmp_path, "digits_at", rows)]), "FGSM").get_lines()


def test_two_data_sets_are_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="digits, MNIST"):
        robustness([make_record(tmp_path, "mnist_nt"), make_record(tmp_path, "digits_nt")])
