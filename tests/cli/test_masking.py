"""`afdctl analyze --masking`, from the command line to the verdict."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from afdctl.analysis.findings import Finding
from afdctl.analysis.masking import CAVEAT, Diagnosis
from afdctl.cli.masking_text import short_form
from tests.cli.conftest import Afdctl
from tests.conftest import short, train

COMMAND = ("analyze", "--masking", "nt", "--limit", "8")


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    train(short("digits_nt"), folder / "runs", name="nt")


@pytest.fixture(autouse=True)
def few_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afdctl.analysis.masking_plan.ATTACKS", {"linf": ("fgsm", "pgd_linf", "noise")})


def test_missing_attacks_run_once_after_their_cost(afdctl: Afdctl):
    stored = afdctl(*COMMAND, "--stored")
    assert (stored.code, stored.out) == (7, "")
    assert "nt: no attacks to compare are stored; leave --stored out, or run `afdctl sweep`" in stored.err
    shown = afdctl(*COMMAND)
    assert shown.code == 0, shown.err
    cost = "nt: lacks fgsm, pgd_linf, noise, pgd_grey on 8 images: up to about "
    assert 0 <= shown.err.find(cost) < shown.err.find("fgsm  0:")
    table, _, sentences = shown.out.partition("D1: ")
    assert max(map(len, table.splitlines())) <= 80
    assert "D8 gain without gradients" in table
    assert CAVEAT in sentences
    again = afdctl(*COMMAND, "--json")
    assert "lacks" not in again.err
    (found,) = json.loads(again.out)["masking"]
    assert (found["run"], found["norm"], found["n"]) == ("nt", "linf", 8)
    assert [one["indicator"] for one in found["indicators"]] == [f"D{n}" for n in range(1, 11)]


def test_stored_results_make_no_run(afdctl: Afdctl, folder: Path):
    (folder / "net.py").write_text(
        "from torch.nn import Flatten, Linear, Sequential\n\n\n"
        "def build():\n    return Sequential(Flatten(), Linear(64, 10))\n"
    )
    before = sorted((folder / "runs").iterdir())
    custom = afdctl("analyze", "--masking", "--stored", "--model", "net.py:build", "--dataset", "digits")
    assert (custom.code, custom.out) == (7, "")
    assert custom.err.endswith(
        "error: net.py:build: nothing is measured of this model under runs; leave --stored out\n"
    )
    packaged = afdctl("analyze", "--masking", "--stored", "model:digits_afd")
    error = "error: model:digits_afd: nothing is measured under runs; run `afdctl sweep model:digits_afd` first\n"
    assert (packaged.code, packaged.out, packaged.err) == (7, "", error)
    assert sorted((folder / "runs").iterdir()) == before


def test_a_sweep_is_judged_by_stored_results_too(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    """One attack alone allows no comparison; those of the tests before are stored."""
    assert afdctl(*COMMAND).code == 0
    swept = afdctl("attack", "nt", "--attack", "mim", "--epsilon", "0.1", "--limit", "8")
    (line,) = [line for line in swept.out.splitlines() if line.startswith("Masking")]
    assert line.startswith("Masking, by all results on the same 8 images: no sign of masked gradients. ")
    missing = line.partition("Not measured: ")[2].partition(" (")[0].split(", ")
    assert not {"D6", "D7", "D8", "D9"} & set(missing)
    found = json.loads(afdctl("attack", "nt", "--attack", "mim", "--epsilon", "0.1", "--limit", "8", "--json").out)
    assert [(one["run"], one["norm"], one["n"]) for one in found["masking"]] == [("nt", "linf", 8)]


def test_a_warning_is_in_the_short_form():
    warned = Finding(
        indicator="D3",
        name="",
        sign="masking",
        value=0.01,
        threshold=0.1,
        verdict="warn",
        text="logits are nearly equal",
    )
    missing = [replace(warned, indicator=f"D{n}", verdict="missing") for n in range(4, 11)]
    diagnosis = Diagnosis(
        run="nt", norm="linf", n=8, verdict="no sign", overestimate=None, epsilon=None, findings=(warned, *missing)
    )
    text = short_form(diagnosis)
    assert text
    assert ": no sign of masked gradients. D3 warns: logits are nearly equal. Not measured: D4, " in text


def test_equal_values_name_the_epsilon_of_the_recipe(afdctl: Afdctl):
    """PGD is as strong as the worst case at both."""
    assert afdctl(*COMMAND, "--epsilons", "0,0.05").code == 0
    (found,) = json.loads(afdctl(*COMMAND, "--json").out)["masking"]
    assert (found["overestimate"], found["epsilon"]) == (0, short("digits_nt").attack.epsilon)


def test_only_the_chosen_images_count(afdctl: Afdctl):
    """Some attacks have more images."""
    assert afdctl("attack", "nt", "--attack", "noise", "--epsilon", "0.1", "--limit", "16").code == 0
    ended = afdctl(*COMMAND, "--json")
    (found,) = json.loads(ended.out)["masking"]
    assert found["n"] == 8
    assert "D8" not in [one["indicator"] for one in found["indicators"] if one["verdict"] == "missing"]


def test_the_diagnosis_is_at_the_epsilon_asked_for(afdctl: Afdctl):
    assert afdctl(*COMMAND).code == 0
    assert afdctl(*COMMAND, "--epsilons", "0.08").code == 0
    # FGSM alone, which is also run in half the ball, and PGD far outside
    nothing = afdctl(*COMMAND, "--stored", "--epsilons", "0.04")
    assert (nothing.code, nothing.out) == (7, "")
    assert "nt: no attacks to compare are stored at 0.04; leave --stored out" in nothing.err
    shown = afdctl(*COMMAND, "--stored", "--epsilons", "0.08")
    assert shown.code == 0
    assert "at 0.08" in shown.out
    assert "at 0.1" not in shown.out
    assert "nt, L∞ at 0.08: no sign of masked gradients" in shown.out


def test_no_sentence_is_printed_twice(afdctl: Afdctl):
    shown = afdctl(*COMMAND)
    assert shown.out.count("PGD-CE ") == 1


def test_only_the_attack_that_is_too_weak_is_called_so():
    gap = Finding(
        indicator="D7",
        name="loss gap",
        sign="weak",
        value=0.2,
        threshold=0.1,
        verdict="fail",
        text="PGD-CE overestimates robustness by 20.0 points at 0.1",
        weak="PGD-CE",
    )
    weak = Diagnosis(
        run="nt", norm="linf", n=8, verdict="overestimated", overestimate=0.2, epsilon=0.1, findings=(gap,)
    )
    assert weak.headline == "nt, L∞: no sign of masked gradients, but PGD-CE is too weak (D7)"
    both = replace(weak, findings=(replace(gap, indicator="D4", weak="mim"), gap))
    assert both.headline.endswith("but mim and PGD-CE are too weak (D4, D7)")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "D77.fail=1"), 2, "--set D77: no such key (did you mean 'D7'?)"),
        (("--set", "D7=0.2"), 2, "--set D7 = 0.2: must be a table; set one of its keys, such as D7.warn or D7.fail"),
        (("--set", "D7.fail=-1"), 2, "--set D7.fail = -1: must be at least 0"),
        (("--thresholds", "none.toml"), 2, "none.toml: cannot be read: No such file or directory"),
        (("none",), 3, "none: no such run under runs; name another folder with --runs"),
        (("--pca",), 2, "--masking: compares attacks, not features; run it without other analyses, --attacks and "),
        (("--epsilons", "0.05,0.1"), 2, "--epsilons 0.05,0.1: --masking judges at one epsilon; name it alone, such as"),
        (
            ("--ray", "local"),
            2,
            "--ray: not with --masking; `afdctl sweep --ray` first, then --masking --stored judges it",
        ),
        (("--suite", "strong"), 2, "--suite: goes with other analyses; --masking has attacks of its own"),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, arguments: tuple[str, ...], code: int, message: str):
    ended = afdctl(*COMMAND, *arguments)
    assert ended.code == code
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
