"""Test the files of figures."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from afdctl import __version__
from afdctl.errors import RecipeError
from afdctl.export.figures.features import pca
from afdctl.export.figures.page import FIGURES, FORMATS, PaperFigure, find, save
from afdctl.export.figures.robustness import robustness
from tests.export.figures import sample_runs


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> PaperFigure:
    rows = sample_runs.sweep_rows({"fgsm": {0.1: 0.5}})
    run = sample_runs.make_record(tmp_path_factory.mktemp("page"), "mnist_at", rows)
    return robustness([run])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_results_make_the_same_bytes(kind: str, tmp_path: Path):
    """In points as pixels and in curves as shapes."""
    run = sample_runs.with_pca(
        sample_runs.with_map(sample_runs.make_record(tmp_path, "digits_at"), n=20), [0.9, 1.0], 2
    )
    for name in ("pca", "tsne"):
        files = [tmp_path / f"{name}-{number}.{kind}" for number in range(2)]
        for file in files:
            save(FIGURES[name].build([run]), file)
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("width", [2.0, 3.4, 5.5])
def test_a_caption_stays_inside_its_figure(width: float):
    figure = PaperFigure("x", [], width, 2)
    names = (
        "MNIST test split",
        "bands: Wilson 95 % interval",
        "checkpoints: best (NT, TRADES, AFD-DCGAN), last (AFD-WGAN)",
    )
    figure.caption("n = 200 to 1,000, random sample", *names)
    figure.dpi = 300
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert figure._supxlabel.get_window_extent(renderer).x1 < figure.bbox.x1


def test_a_pdf_has_metadata_and_truetype_fonts(page: PaperFigure, tmp_path: Path):
    save(page, tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert b"/Title (Adversarial accuracy on MNIST)" in data
    assert b"/Subject (runs: mnist_at-0)" in data
    assert f"/Creator (afdctl {__version__})".encode() in data
    assert b"Date" not in data
    assert b"/CIDFontType2" in data
    assert b"/Type3" not in data


def test_an_svg_has_metadata_and_needs_no_font(page: PaperFigure, tmp_path: Path):
    save(page, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "<dc:title>Adversarial accuracy on MNIST</dc:title>" in text
    assert "<dc:description>runs: mnist_at-0</dc:description>" in text
    assert f"afdctl {__version__}" in text
    assert "<dc:date>" not in text
    assert not re.search(r"<text|font-family", text)


def test_a_png_has_300_dots_per_inch_and_metadata(page: PaperFigure, tmp_path: Path):
    save(page, tmp_path / "a.PNG")
    with Image.open(tmp_path / "a.PNG") as image:
        assert image.width == 5.5 * 300
        assert image.text["Title"] == "Adversarial accuracy on MNIST"  # type: ignore[attr-defined]
        assert image.text["Description"] == "runs: mnist_at-0"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a.gif", "a.docx", "a"])
def test_other_suffixes_are_refused(page: PaperFigure, tmp_path: Path, name: str):
    with pytest.raises(RecipeError, match=r"use \.pdf, \.svg, \.png"):
        save(page, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_user_settings_do_not_affect_figures_and_are_not_changed(tmp_path: Path):
    run = sample_runs.with_pca(sample_runs.make_record(tmp_path, "digits_at"), [0.9, 1.0], 2)
    save(pca([run]), tmp_path / "plain.svg")
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "svg.fonttype": "none"}
    ):
        before = dict(matplotlib.rcParams)
        save(pca([run]), tmp_path / "odd.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "odd.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()


def test_drawing_needs_neither_pyplot_nor_torch():
    code = (
        "import sys; from afdctl.export.figures import divergence, embedding, features, robustness;"
        "print({'matplotlib.pyplot', 'torch', 'sklearn'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_names_of_figures():
    assert find("a1") == "A1"
    assert find("PCA") == "pca"
    with pytest.raises(RecipeError, match="did you mean 'sensitivity'"):
        find("sensitivty")
    with pytest.raises(RecipeError, match="known: 2, 3, A1"):
        find("99")


def test_every_figure_can_be_drawn(tmp_path: Path):
    run = sample_runs.make_record(tmp_path, "mnist_wgan", sample_runs.sweep_rows({"aa": {0.1: 0.5}}))
    run = sample_runs.with_sensitivity(
        sample_runs.with_units(sample_runs.with_pca(run, [0.9, 1.0], 2), [1.0, 0.0]), [0.1, 0.2], [0.1, 0.1]
    )
    run = sample_runs.with_hdh(
        sample_runs.with_map(sample_runs.with_map(sample_runs.with_norms(run), "umap", n=20), n=20)
    )
    for spec in {spec.function: spec for spec in FIGURES.values()}.values():
        page = spec.build([run])
        page.draw_without_rendering()
        # none of the run's own: it was analysed, and then trained on
        assert "checkpoint: d1" in " ".join(page._supxlabel.get_text().split())
