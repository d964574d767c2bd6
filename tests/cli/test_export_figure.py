"""Test `afdctl export --figure`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Afdctl
from tests.export.figures.sample_runs import make_record, sweep_rows, with_sensitivity

SWEPT = sweep_rows(
    {attack: {0.1: 0.5} for attack in ("pgd_linf", "pgd_l1", "pgd_l2", "fgsm", "mim", "ddn", "deepfool", "cw", "aa")}
)


@pytest.fixture(scope="module", autouse=True)
def runs(folder: Path) -> None:
    make_record(folder / "runs", "mnist_nt", SWEPT)
    make_record(folder / "runs", "mnist_at", SWEPT[:-1])
    make_record(folder / "runs", "mnist_wgan")
    with_sensitivity(make_record(folder / "runs", "digits_nt", SWEPT), [0.1], [0.1])


def test_all_runs_of_the_papers_data_set_are_drawn(afdctl: Afdctl, folder: Path):
    ended = afdctl("export", "--figure", "a1")
    assert ended.code == 0, ended.err
    assert ended.out == "figure-A1.pdf\n"
    assert (folder / "figure-A1.pdf").read_bytes().startswith(b"%PDF")
    assert ended.err.splitlines() == [
        "no run named: using all 4 under runs",
        "warning: mnist_at-0, mnist_wgan-0: no complete sweep; "
        "run `afdctl sweep mnist_at-0 mnist_wgan-0 --suite paper-A2`",
    ]


def test_named_runs_of_another_data_set_are_drawn_with_a_warning(afdctl: Afdctl, folder: Path):
    ended = afdctl("export", "digits_nt-0", "digits_nt-0", "--figure", "2", "--out", "two.svg", "--json")
    assert json.loads(ended.out) == {
        "schema": "afdctl/1",
        "figure": "2",
        "path": "two.svg",
        "title": "Adversarial accuracy on digits",
        "runs": ["digits_nt-0"],
    }
    assert ended.err == "warning: the paper's figure 2 is of CIFAR-10; drawn with runs of digits\n"
    assert "Adversarial accuracy on digits" in (folder / "two.svg").read_text()


def test_a_damaged_run_is_left_out_of_all(afdctl: Afdctl, folder: Path):
    broken = make_record(folder / "runs", "cifar100_nt", SWEPT)
    make_record(folder / "runs", "cifar100_at", SWEPT)
    broken.run.recipe_path.write_text("what = 1\n")
    ended = afdctl("export", "--figure", "A2", "--out", "a2.png", "--json")
    assert json.loads(ended.out)["runs"] == ["cifar100_at-0"]
    assert "left out" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--figure A9", 2, "--figure A9: no such figure (known: 2, 3, A1"),
        ("--figure sensitivty", 2, "did you mean 'sensitivity'?"),
        ("--figure A1 --out a.gif", 2, "--out a.gif: no such format '.gif'; use .pdf, .svg, .png"),
        ("--figure A1 --format svg", 2, "--format: goes with --table; other modes name their format, or --out's"),
        ("--figure A1 --out nowhere/a.pdf", 2, "there is no folder nowhere"),
        ("--figure 2", 3, "--figure 2: no run here is of CIFAR-10, as the figure is; name other runs"),
        ("--figure A6", 3, "no tsne; run `afdctl analyze mnist_nt-0 mnist_at-0 mnist_wgan-0 --tsne`"),
        ("digits_nt-0 --figure 3", 3, "digits_nt-0: no hdh; run `afdctl analyze digits_nt-0 --hdh`"),
        ("digits_nt-0 mnist_nt-0 --figure 2", 2, "the runs are of several data sets (digits, MNIST); name runs of one"),
        ("nosuch --figure 2", 3, "nosuch: no such run"),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, arguments: str, code: int, message: str):
    ended = afdctl("export", *arguments.split())
    assert ended.code == code
    assert message in ended.err
    assert ended.err.count("error:") == 1
    assert not ended.out
