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
LABELS = torch.zeros(9, dtype=torch.int64)


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
    with pytest.raises(afdctl.NoResultsError, match=r"^nt: no attacks to compare are stored; leave `stored` out, or"):
        afdctl.diagnose(run, stored=True, device="cpu")
    with pytest.raises(afdctl.RecipeError, match=r"^epsilon 2: images are in \[0, 1\]; did you mean 2/255\?$"):
        afdctl.diagnose(run, epsilon=2, stored=True, device="cpu")
    (found,) = afdctl.diagnose(run, limit=N, device="cpu")
    shown = json.loads(shell("analyze", "--masking", "--stored", "nt", "--limit", str(N), "--json").out)
    assert shown["masking"] == [json.loads(json.dumps(found.as_json()))]
    assert f"<p>{found.headline}. " in page.build([Record.of(run)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data: missing; name a data set"),
        ({"data": "digits", "thresholds": {"D7.fial": 1}}, "thresholds: D7.fial: no such key (did you mean 'fail'?)"),
        ({"data": "digits", "thresholds": 5}, "thresholds: must be a dictionary, such as {'D7.fail': 0.2}"),
        ({"data": "digits", "epsilon": -1}, "epsilon"),
        ({"data": "digits", "epsilon": [0.1]}, "epsilon: must be a number or a text such as '8/255', not [0.1]"),
        ({"data": "digits", "epsilon": 8}, "epsilon 8: images are in [0, 1]; did you mean 8/255?"),
        ({"data": "digits", "limit": 0}, "limit=0: must be a whole number of images, at least 1"),
        ({"data": "digits", "limit": 5, "first": 5}, "limit=5 and first=5: take a random sample and the first images"),
        ({"data": "digit"}, "data 'digit': no such data set (did you mean 'digits'?)"),
        ({"data": 5}, "data: must be a name or two tensors; name a data set"),
        # of the digits of scikit-learn, whose pixels are 0 to 16
        ({"data": (torch.full((9, 1, 8, 8), 1 / 16), LABELS)}, "data: x must be 8-bit images (0 to 255), or their v"),
        ({"data": (torch.full((9, 1, 8, 8), 16.0), LABELS)}, "x: values are from 16 to 16, images are in [0, 1]; div"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str):
    with pytest.raises(afdctl.RecipeError) as caught:
        afdctl.diagnose(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), **options)
    assert str(caught.value).startswith(message)
    with pytest.raises(afdctl.RecipeError, match=r"^data: is for a torch module"):
        afdctl.diagnose("run", data=(torch.zeros(1, 1, 8, 8), torch.zeros(1)))


def test_stored_results_of_a_packaged_model_make_no_run(tmp_path: Path):
    with pytest.raises(afdctl.NoResultsError, match=r"^model:digits_afd: nothing is measured under .*; `evaluate` it"):
        afdctl.diagnose("model:digits_afd", stored=True, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_module_has_no_stored_results():
    with pytest.raises(afdctl.NoResultsError, match=r"^stored: a torch module has no stored results"):
        afdctl.diagnose(nn.Identity(), data="digits", stored=True)


@pytest.mark.parametrize(
    ("target", "shown"),
    [(nn.ReLU, "the class ReLU"), (train, "a function"), (3, "an int"), (None, "None"), ([nn.ReLU()], "a ")],
)
@pytest.mark.parametrize("data", [None, "digits"])
def test_other_targets_are_named(target: Any, shown: str, data: str | None):
    for function in (afdctl.diagnose, afdctl.evaluate):
        with pytest.raises(afdctl.RecipeError, match=rf"^target: must be a run( or a torch module)?, not {shown}"):
            function(target, data=data)
    with pytest.raises(afdctl.RecipeError, match=rf"^run: must be a run, not {shown}"):
        afdctl.load_run(target)


def test_an_output_without_classes_is_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    with pytest.raises(
        afdctl.RecipeError, match=r"^the model returns a tensor of shape \(2\), not logits \(2, classes\)$"
    ):
        afdctl.diagnose(network, data="digits")


def test_images_with_the_channels_last_are_named():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(afdctl.RecipeError, match=r"; of images \(n, h, w, c\), pass x\.permute\(0, 3, 1, 2\)$"):
        afdctl.diagnose(network, data=(torch.zeros(9, 8, 8, 1, dtype=torch.uint8), LABELS))


def test_the_default_epsilon_is_that_of_the_documentation():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    images = (torch.zeros(9, 1, 8, 8, dtype=torch.uint8), LABELS)
    own, digits = afdctl.diagnose(network, data=images), afdctl.diagnose(network, data="digits", limit=4)
    assert own[0].epsilon == 8 / 255
    assert digits[0].epsilon == 0.1
