"""`afdctl analyze --masking`, from the command line to the verdict."""

import json
from pathlib import Path

import pytest

from afdctl.analysis.masking import CAVEAT
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
    assert (stored.code, stored.out) == (0, "")
    assert "nt: has no attacks to compare; leave --stored out, or run `afdctl sweep`" in stored.err
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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "D77.fail=1"), 2, "--set D77: no such key (did you mean 'D7'?)"),
        (("--set", "D7.fail=-1"), 2, "--set D7.fail = -1: must be at least 0"),
        (("--thresholds", "none.toml"), 2, "none.toml: cannot be read: No such file or directory"),
        (("none",), 3, "none: no such run under runs; name another folder with --runs"),
        (("--pca",), 2, "--masking: compares attacks, not features; run it without other analyses, --attacks and "),
        (("--suite", "strong"), 2, "--suite: goes with other analyses; --masking has attacks of its own"),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, arguments: tuple[str, ...], code: int, message: str):
    ended = afdctl(*COMMAND, *arguments)
    assert ended.code == code
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
