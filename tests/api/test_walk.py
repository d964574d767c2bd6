"""Test docs/api.md: its code runs from top to bottom as in a notebook, prints nothing, and does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import afdctl

PAGE = Path(afdctl.__file__).parents[1] / "docs" / "api.md"


def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("afdctl.analysis.masking_plan.ATTACKS", {"linf": ("fgsm", "pgd_linf", "noise")})
    random_state = torch.get_rng_state()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(block, names)
    assert capsys.readouterr() == ("", "")
    assert torch.get_rng_state().equal(random_state)
    assert names["run"].path.resolve() == tmp_path / "runs" / "digits_nt-001"
    assert [row["n"] for row in names["tests"]] == [64, 64]
    assert len([row for row in names["metrics"] if row["event"] == "step"]) == 8 * 5
    result = names["result"]
    assert result.x_adv.shape == names["x"].shape
    assert 0 < result.robust_accuracy <= result.clean_accuracy < 1
    assert repr(result).startswith("VerifiedResult(n=100, clean_accuracy=")
    assert {row["attack"] for row in names["accuracies"]} == {"fgsm", "ddn"}
    assert {(row["attack"], row["n"]) for row in names["cells"]} == {("fgsm", 50), ("ddn", 50)}
    assert [row["epsilon"] for row in names["on_images"].table()] == [0, 8 / 255, 0.1]
    assert (names["diagnosis"].epsilon, names["diagnosis"].n) == (0.1, 100)
    assert names["message"] == "overrides: train.epoch: no such key (did you mean 'epochs'?)"
