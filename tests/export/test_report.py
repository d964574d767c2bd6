"""Test that the report shows the runs' results and gaps, and works offline."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from afdctl.export.report import analyses, curves, page
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.journals import Row, analysed, end, epoch, final_test, resumed, steps, swept, trained, written

VOID = {"meta", "br", "line", "path", "circle"}
CELLS = {"td", "th", "dt", "dd", "small", "br"}


class Reader(HTMLParser):
    """Text and addresses of a page whose elements are all closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.addresses, self.open = "", [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)
        self.text += " " * (tag in CELLS)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        self.text += " " * (tag in CELLS)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def page_of(*runs: Run) -> str:
    return page.build([Record.of(run) for run in runs])


def words(html: str) -> str:
    return " ".join(Reader(html).text.split())


@pytest.fixture
def wgan(tmp_path: Path) -> Run:
    run = written(tmp_path / "runs", "wgan", trained(0.95, 0.6))
    swept(run, {0.05: 0.8, 0.1: 0.4})
    return run


def complete(run: Run) -> dict[str, str | None]:
    """All analyses; returns their shards."""
    rng = np.random.default_rng(0)
    medians = {"median": [0.5, 1.5], "std": [0.1, 0.2]}
    points = {"points": rng.normal(size=(2, 40, 2)), "label": np.arange(40) % 10, "prediction": np.zeros((2, 40))}
    cell = {
        "attack": "pgd_linf",
        "norm": "linf",
        "epsilon": 0.1,
        "err_nat": 0.03,
        "err_adv": 0.321,
        "gap": 0.291,
        "raw": None,
        "calibrated": None,
        "probe": 1.234,
        "slack_raw": None,
        "slack_calibrated": None,
        "slack_probe": 0.326,
        "n_test": 100,
    }
    correlation = {"raw": None, "calibrated": None, "probe": {"r": 0.91, "low": 0.8, "high": 0.95, "cells": 12}}
    attack: Row = {"attack": "pgd_linf", "norm": "linf"}
    rows: dict[str, Row] = {
        "pca": {"dims": 17, "features": 256, "share": 0.99},
        "units": {"units": 201, "features": 256},
        "sensitivity": {**attack, "epsilons": [0.1, 0.2], **medians},
        "norms": {**attack, "epsilons": [0, 0.1], "feature_norm": medians, "logit_scale": medians, "margin": medians},
        "hdh": {"cells": [cell], "correlation": correlation},
        "tsne": {**attack, "epsilons": [0, 0.1], "perplexity": 30},
    }
    return {name: analysed(run, name, row, points if name == "tsne" else None) for name, row in rows.items()}


def test_the_metrics_are_on_the_page(wgan: Run):
    complete(wgan)
    text = words(page_of(wgan))
    assert "wgan 95.0 60.0 PGD-40 linf 0.1 40.0 ε 0.1 L∞ AFD-WGAN digits swept 2/60" in text
    assert "PGD, no AutoAttack" in text
    # Wilson's interval of 216 of 360
    assert "PGD-40 linf 0.1, no AutoAttack, 60.0 [54.9, 64.9]" in text
    assert "aa 97.0 80.0 40.0 0.743" in text
    assert "wgan 17 201 256 — — 0.91 [0.80, 0.95], 12 cells" in text
    assert "pgd_linf 0.1 0.030 0.321 0.291 — — 1.234 — — 0.326" in text
    assert "lr_F 0.5" in text
    assert "torch 2.14.1" in text
    assert "Not measured" not in text


def test_the_page_works_offline(wgan: Run):
    complete(wgan)
    html = page_of(wgan)
    assert all(address.startswith("#") for address in Reader(html).addresses)
    assert not re.search(r"https?:|@import|url\(|<script|<link", html)
    anchors = {address.removeprefix("#") for address in Reader(html).addresses}
    assert all(f'id="{anchor}"' in html for anchor in anchors)
    assert "prefers-color-scheme: dark" in html


def test_a_gap_is_shown_with_its_command(tmp_path: Path, wgan: Run):
    other = written(tmp_path / "my runs", "at", trained(), recipe_name="digits_at")
    swept(other, {0.1: 0.5}, attack="pgd_linf")
    young = written(tmp_path / "runs", "young", [*steps(1, 10), epoch(1)])
    text = words(page_of(wgan, other, young))
    path = f"'{other.path}'"
    assert f"at no AutoAttack; robust accuracy may be lower: afdctl sweep {path}" in text
    assert f"at no pca, units, sensitivity, norms, hdh, tsne: afdctl analyze {path} --pca --units" in text
    assert f"young training not finished: afdctl train --resume {young.path}" in text
    assert f"young not attacked yet: afdctl sweep {young.path}" in text
    assert "wgan no AutoAttack" not in text


def test_several_runs_are_compared(tmp_path: Path, wgan: Run):
    other = written(tmp_path / "runs", "at", trained(0.99, 0.5), recipe_name="digits_at", sets=["attack.epsilon=0.2"])
    swept(other, {0.1: 0.3})
    html = page_of(wgan, other)
    text = words(html)
    assert "Report on 2 runs" in text
    assert "attack.epsilon 0.1 0.2" in text
    assert "defense.game wgan —" in text
    assert "aa wgan 97.0 80.0 40.0 0.743 at 97.0 30.0 0.635" in text
    assert html.count("L_C: classification (Eq. 7)</figcaption>") == 1
    # one line a run in the chart of L_C
    chart = html.split("L_C: classification (Eq. 7)</figcaption>")[1].split("</figure>")[0]
    assert [chart.count(f'class="line k{number}"') for number in (0, 1, 2)] == [1, 1, 0]


def test_an_unfinished_run_and_a_damaged_shard_are_marked(tmp_path: Path, wgan: Run):
    name = complete(wgan)["tsne"]
    (wgan.shards / str(name)).write_bytes(b"bad")
    bare = written(tmp_path / "runs", "bare", [])
    bare.journal_path.unlink()
    text = words(page_of(wgan, bare))
    assert f"wgan t-SNE: {wgan.shards / str(name)}: damaged or missing" in text
    assert "bare — — not run AFD-WGAN digits not started —" in text
    assert "No steps yet." in words(page_of(bare))


def test_the_epsilons_of_an_embedding_share_a_scale(wgan: Run):
    """The points approach each other under attack, also on the page."""
    natural = np.array([[0.0, 0.0], [8.0, 8.0]])
    points = {"points": np.stack([natural, natural / 4]), "label": np.array([0, 0])}
    analysed(wgan, "tsne", {"attack": "pgd_linf", "norm": "linf", "epsilons": [0, 8 / 255], "perplexity": 30}, points)
    far, near = analyses.analysis_section(Record.of(wgan)).panels
    assert (far.title, near.title) == ("natural", "ε = 8/255")
    assert far.dots == {0: "M4.0 4.0h0M96.0 96.0h0"}
    assert near.dots == {0: "M4.0 4.0h0M27.0 27.0h0"}


def test_a_custom_model_is_shown_by_its_measurements(tmp_path: Path):
    provenance = {"kind": "external", "dataset": "mnist", "model_digest": "m", "torch": "2.14.1"}
    run = Run.create(tmp_path, "theirs", None, provenance, name="theirs")
    swept(run, {0.1: 0.5})
    text = words(page_of(run))
    assert "theirs 97.0 — 50.0 ε 0.1 L∞ theirs mnist swept —" in text
    assert "A custom model, without a recipe." in text
    assert "training not finished" not in text


def test_names_and_messages_are_text_and_no_markup(tmp_path: Path):
    run = written(tmp_path, "run", [*steps(1, 3), end("failed", "<script>alert(1)</script>")])
    html = page_of(Run(run.path.rename(tmp_path / "<b>&\x1b[31m\u202e")))
    assert "<b>&" not in html
    assert not set("\x1b\u202e") & set(html)
    assert r"<b>&\x1b[31m\u202e" in words(html)
    assert "<script>" not in html
    assert "failed: <script>alert(1)</script>" in words(html)


def test_a_long_run_makes_a_small_page(tmp_path: Path):
    run = written(tmp_path, "long", [*steps(1, 20000), final_test(), end()])
    assert len(page_of(run)) < 100_000
    assert curves.step_history(Record.of(run)).length <= curves.MAX_BUCKETS


def test_steps_repeated_after_a_resume_replace_the_old_ones(tmp_path: Path):
    again = resumed(10, 1)
    rows = [*steps(1, 17), again, *({**row, "L_C": 7.0} for row in steps(11, 20))]
    history = curves.step_history(Record.of(written(tmp_path, "one", rows)))
    assert history.mean("L_C").tolist() == pytest.approx([2 / number for number in range(1, 11)] + [7.0] * 10)
