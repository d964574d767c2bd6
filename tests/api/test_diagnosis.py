"""`afdctl.diagnose`: the diagnosis of the command, of runs and of any module."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import afdctl
from afdctl.export.report import page
from afdctl.runs.record import Record
from tests.analysis.masked_models import Changed, Flipped, digits, same, trained
from tests.cli.conftest import Afdctl
from tests.conftest import short, train

N = 20


@pytest.fixture(autouse=True)
def few_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afdctl.analysis.masking_plan.ATTACKS", {"linf": ("fgsm", "pgd_linf", "noise")})


def test_a_module_on_images():
    network = trained("natural", 4)
    masked = Changed(network, Flipped.apply, same)
    test = digits().test
    (found,) = afdctl.diagnose(masked, data=(test.x[:N], test.y[:N]), epsilon=0.1)
    assert isinstance(found, afdctl.Diagnosis)
    assert (found.verdict, found.norm, found.n) == ("masked", "linf", N)
    (honest,) = afdctl.diagnose(network, data="digits", epsilon=0.1, limit=N)
    assert honest.verdict == "no sign"
    (lenient,) = afdctl.diagnose(network, data="digits", epsilon=0.1, limit=N, thresholds={"D7.fail": 0.5})
    assert {one.indicator: one.threshold for one in lenient.findings}["D7"] == 0.5


def test_a_run_has_the_diagnosis_of_the_command(shell: Afdctl, folder: Path):
    run = afdctl.load_run(train(short("digits_nt"), folder / "runs", name="nt"))
    assert afdctl.diagnose(run, stored=True, device="cpu") == []
    (found,) = afdctl.diagnose(run, limit=N, device="cpu")
    shown = json.loads(shell("analyze", "--masking", "--stored", "nt", "--limit", str(N), "--json").out)
    assert shown["masking"] == [json.loads(json.dumps(found.as_json()))]
    assert f"<p>{found.headline}. " in page.build([Record.of(run)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data: missing; name a data set"),
        ({"data": "digits", "thresholds": {"D7.fial": 1}}, "overrides: D7.fial: no such key (did you mean 'fail'?)"),
        ({"data": "digits", "epsilon": -1}, "epsilon"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(afdctl.RecipeError) as caught:
        afdctl.diagnose(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), **options)
    assert str(caught.value).startswith(message)
    with pytest.raises(afdctl.RecipeError, match=r"^data: is for a torch module"):
        afdctl.diagnose("run", data=(torch.zeros(1, 1, 8, 8), torch.zeros(1)))
