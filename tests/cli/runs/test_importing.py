"""`afdctl runs`."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from afdctl import cli
from afdctl.models.feature_classifier import build
from afdctl.runs.run import Run
from tests.cli.conftest import Ended
from tests.conftest import SHORT, short
from tests.models.authors import SpectralHead, checkpoint

OURS = ["model.encoder=resnet18_mnist", "defense.hidden=16"]
SETS = " ".join(f"--set {override}" for override in [*SHORT, *OURS])


@pytest.fixture
def afdctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `afdctl ...` in this process, in a folder with a checkpoint c.pt of the authors'."""
    monkeypatch.chdir(tmp_path)
    model = short("digits_wgan", *OURS).model.architecture
    network = build(**model, channels=1, image_size=8, classes=10)
    torch.save(checkpoint(network, SpectralHead(16, 10)), "c.pt")

    def run(words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["afdctl", *words.split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return run


def test_import_prints_the_runs_path(afdctl: Callable[..., Ended]):
    assert afdctl(f"runs import c.pt --recipe digits_wgan {SETS}") == (0, "runs/digits_wgan-001\n", "")
    ended = afdctl(f"runs import c.pt --recipe digits_wgan --name theirs --runs others {SETS}")
    assert ended == (0, "others/theirs\n", "")
    assert Run.find("theirs", Path("others")).kind == "imported"


def test_import_warns_on_stderr(afdctl: Callable[..., Ended]):
    payload = torch.load("c.pt", weights_only=True)
    torch.save({name: payload[name] for name in ("E_state_dict", "Dc_state_dict")}, "c.pt")
    ended = afdctl(f"runs import c.pt --recipe digits_wgan {SETS}")
    assert (ended.code, ended.out) == (0, "runs/digits_wgan-001\n")
    assert ended.err.startswith("warning: c.pt: has no discriminator")


def test_an_imported_run_cannot_be_resumed(afdctl: Callable[..., Ended]):
    afdctl(f"runs import c.pt --recipe digits_wgan {SETS}")
    message = "this run is imported, not trained; it cannot be resumed"
    assert afdctl("train --resume digits_wgan-001") == (2, "", f"error: runs/digits_wgan-001: {message}\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("nosuch.pt --recipe digits_wgan", 3, "nosuch.pt: no such file"),
        ("c.pt --recipe digits_wagn", 2, "digits_wagn: no such recipe (did you mean 'digits_wgan'?)"),
        ("bad.pt --recipe digits_wgan", 3, "bad.pt: not a file of weights (.pt, .pth, .safetensors), or damaged\n"),
        ("c.pt --recipe digits_wgan --set model.norm=none", 2, "c.pt: its encoder is resnet18norm, the recipe has "),
        ("c.pt --recipe digits_wgan --set model.encoder=resnet18", 2, "c.pt: does not fit the model: "),
    ],
)
def test_a_mistake_is_one_line(afdctl: Callable[..., Ended], words: str, code: int, message: str):
    Path("bad.pt").write_bytes(b"bad")
    ended = afdctl(f"runs import {words}")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1


def test_the_help_explains_the_normalization(afdctl: Callable[..., Ended]):
    assert "model.norm must be the normalization of its features" in " ".join(afdctl("runs import --help").out.split())
