"""`afdctl analyze`, from the command line to figures."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from afdctl.cli.analyze_tables import divergence_table
from afdctl.cli.console import TableConsole
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import short, train

SMALL = ("--limit", "32", "--epsilons", "0,0.05,0.1")


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    """Two short runs: nt, wgan."""
    for name in ("nt", "wgan"):
        train(short(f"digits_{name}"), folder / "runs", name=name)


def printed(ended: Ended) -> dict[tuple[str, str], dict[str, Any]]:
    """Map (run, analysis) to the printed result."""
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["schema"] == "afdctl/1"
    return {(one["run"], one["name"]): one for one in found["analyses"]}


def test_the_usual_analyses_of_two_runs_side_by_side(afdctl: Afdctl):
    shown = afdctl("analyze", "wgan", "nt", *SMALL)
    assert shown.code == 0, shown.err
    for title in ("pca: ", "units: ", "sensitivity: ", "feature_norm: ", "margin: "):
        assert title in shown.out
    assert "features of 32 images under pgd_linf" in shown.err
    again = afdctl("analyze", "wgan", "nt", *SMALL, "--json")
    assert "features of" not in again.err
    found = printed(again)
    assert list(found) == [(run, name) for run in ("wgan", "nt") for name in ("pca", "units", "sensitivity", "norms")]
    assert found["wgan", "sensitivity"]["epsilons"] == [0.05, 0.1]
    assert found["wgan", "norms"]["epsilons"] == [0, 0.05, 0.1]


def test_three_estimates_with_a_discriminator_and_one_without(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("afdctl.analysis.divergence.PROBE_STEPS", 10)  # how well it is trained is held elsewhere
    command = ("analyze", "wgan", "nt", *SMALL, "--hdh", "--attacks", "fgsm")
    found = printed(afdctl(*command, "--json"))
    assert {cell["attack"] for cell in found["nt", "hdh"]["cells"]} == {"pgd_linf", "fgsm"}
    for cell in found["wgan", "hdh"]["cells"]:
        assert all(0 <= cell[name] <= 2 for name in ("raw", "calibrated", "probe"))
    assert found["nt", "hdh"]["correlation"]["raw"] is None
    shown = afdctl(*command)
    assert shown.out.count("This run has no discriminator, so there is only the probe.") == 1
    assert "No room" not in shown.out
    narrow = TableConsole()
    narrow.width = 80
    with narrow.capture() as written:
        narrow.print_dropping_columns(partial(divergence_table, found["wgan", "hdh"]["cells"]), 3)
    assert "No room for slack calibrated, slack raw: a wider terminal or --json shows them." in written.get()


def test_the_discriminator_is_the_runs_own(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """`raw` is what its weights give on the kept features."""
    monkeypatch.setattr("afdctl.analysis.divergence.PROBE_STEPS", 10)
    found = printed(afdctl("analyze", "wgan", *SMALL, "--hdh", "--attacks", "pgd_linf", "--json"))
    from afdctl.analysis.divergence import load_discriminator
    from afdctl.evaluation.target import load_run_target

    run = Run(folder / "runs/wgan")
    D_psi = load_discriminator(run, "best", load_run_target(run, "best", torch.device("cpu"), None))
    assert D_psi is not None
    with h5py.File(run.results_path) as file, torch.no_grad():
        y = torch.from_numpy(file["features/natural/label"][()])
        nat, adv = (
            D_psi(torch.from_numpy(file[f"features/{place}/z"][()]), y) for place in ("natural", "pgd_linf/0.1")
        )
    alpha = (nat > 0).float().mean() + (adv <= 0).float().mean()
    (cell,) = (one for one in found["wgan", "hdh"]["cells"] if one["epsilon"] == 0.1)
    assert cell["raw"] == pytest.approx(2 * abs(alpha.item() - 1), abs=1e-6)


def test_an_embedding(afdctl: Afdctl):
    shown = afdctl("analyze", "nt", *SMALL, "--tsne", "--points", "16")
    assert shown.code == 0, shown.err
    assert "tsne: nt, 16 test images, natural and under PGD-L∞ at 0.05, 0.1" in shown.out
    # in a pipe there is no plot, and no file that nobody asked for
    assert shown.err.splitlines()[-1] == "tsne: the plot needs a terminal or a file; add --out tsne.svg"
    drawn = afdctl("analyze", "nt", *SMALL, "--tsne", "--points", "16", "--out", "tsne.svg")
    assert "figure: tsne.svg" in drawn.out
    assert "the plot needs" not in drawn.err


def test_pictures(afdctl: Afdctl, folder: Path):
    shown = afdctl("analyze", "nt", "wgan", *SMALL, "--pca", "--out", "one.svg")
    assert shown.code == 0, shown.err
    assert "figure: one.svg" in shown.out
    found = json.loads(afdctl("analyze", "nt", *SMALL, "--pca", "--norms", "--out", "two.png", "--json").out)
    assert found["figures"] == {"pca": "two-pca.png", "norms": "two-norms.png"}
    assert (folder / "one.svg").read_text().startswith("<?xml")
    assert (folder / "two-norms.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nosuch",), 3, "error: nosuch: no such run"),
        (("nt", "--attacks", "fgsm"), 2, "error: --attacks: are what --hdh compares"),
        (("nt", "--hdh", "--attacks", "fgms"), 2, "did you mean 'fgsm'?"),
        (("nt", "--checkpoint", "step-1.pt"), 3, "has no checkpoint 'step-1.pt'"),
        (("nt", "--suite", "nosuch"), 2, "nosuch"),
        (("nt", "--out", "x.jpeg"), 2, "--out x.jpeg: no such format '.jpeg'; use .pdf, .svg, .png"),
        (("nt", "--out", "nosuch/x.svg"), 2, "--out nosuch/x.svg: there is no folder nosuch; make it first"),
        (("nt", "runs/../runs/nt", "--device", "tpu"), 2, "--device tpu: not on this machine"),
    ],
)
def test_bad_input_gets_one_line(afdctl: Afdctl, arguments: tuple[str, ...], code: int, said: str):
    ended = afdctl("analyze", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_missing_package(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    from afdctl.cli import analyze

    monkeypatch.setattr(analyze, "find_spec", lambda name: None)
    ended = afdctl("analyze", "nt", "--umap")
    assert (ended.code, ended.err) == (2, "error: --umap: needs umap-learn; pip install 'afdctl[umap]'\n")


def test_a_damaged_checkpoint(afdctl: Afdctl, folder: Path):
    run = Run(folder / "runs/nt")
    best = run.checkpoints / (run.checkpoints / "best").read_text().strip()
    whole = best.read_bytes()
    best.write_bytes(whole[:-1])
    ended = afdctl("analyze", "nt", "--pca", "--limit", "31")
    best.write_bytes(whole)
    assert ended.code == 3
    assert ") is damaged or missing; restore it" in ended.err
