"""Test `afdctl models`, and `model:NAME` as the RUN of other commands."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from afdctl.analysis.divergence import load_discriminator
from afdctl.evaluation.target import load_run_target
from afdctl.recipe.load import folder as recipes
from afdctl.runs import model_card
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import short, train

CPU = torch.device("cpu")
# of two images that the network of seed 1 misclassifies, so that AutoAttack has nothing to do
AUTOATTACK = ("--attack", "aa", "--epsilon", "0.1", "--limit", "2")
PGD = ("--attack", "pgd_linf", "--epsilon", "0.1", "--limit", "40", "--json")


@pytest.fixture(scope="module", autouse=True)
def runs(folder: Path) -> Path:
    """The run `wgan`, with averaged weights, and `nt`, which has no AutoAttack results."""
    train(short("digits_wgan", "train.ema_decay=0.5", "seed=1"), folder / "runs", name="wgan")
    train(short("digits_nt", "train.epochs=1"), folder / "runs", name="nt")
    return folder / "runs"


@pytest.fixture
def card(afdctl: Afdctl, folder: Path) -> Path:
    """The card of the model `mine`, made of the run `wgan`."""
    path = folder / "mine.toml"
    if not path.exists():
        assert afdctl("attack", "wgan", *AUTOATTACK).code == 0
        assert afdctl("models", "add", "wgan", "--name", "mine") == Ended(0, "mine.toml\n", "")
    return path


def printed(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_the_weights_are_those_that_are_evaluated(card: Path, runs: Path):
    target = load_run_target(Run(runs / "wgan"), "best", CPU, None)
    tensors = load_file(card.with_suffix(".safetensors"))
    own = {name: value for name, value in target.network.state_dict().items() if isinstance(value, torch.Tensor)}
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float32}


def test_the_card_has_the_results_of_the_run(afdctl: Afdctl, card: Path):
    shown, found = printed(afdctl("runs", "show", "wgan", "--json")), model_card.load(str(card))
    (cell,) = printed(afdctl("attack", "wgan", *AUTOATTACK, "--json"))["cells"]
    described, training = found.card, found.card.training
    autoattack = described.metric("aa")
    assert (autoattack.n, autoattack.norm, autoattack.epsilon, autoattack.suite) == (2, "linf", 0.1, "strong")
    assert (autoattack.accuracy, autoattack.low) == (cell["accuracy"], pytest.approx(cell["low"], abs=1e-6))
    (test,) = (row for row in shown["tests"] if row["checkpoint"] == "best")
    assert described.metric("clean").accuracy == pytest.approx(test["acc_nat"], abs=1e-6)
    assert described.metric("PGD-2 linf 0.1").n == described.metric("clean").n == 64
    assert (found.name, described.method, described.recipe.data.dataset) == ("mine", "AFD-WGAN", "digits")
    assert (training.run, training.epochs, training.steps, training.images) == ("wgan", 2, 10, 1237)
    assert (training.checkpoint_step, training.checkpoint) == (test["checkpoint_step"], cell["checkpoint"])
    assert (training.afdctl, training.commit) == (shown["provenance"]["afdctl"], shown["provenance"]["commit"])
    assert 0 < training.minutes < 5 or training.minutes == 0
    assert "L∞ 0.1 on test images of digits" in described.limits


def test_a_model_gives_the_results_of_its_run_and_keeps_them(afdctl: Afdctl, card: Path):
    original = printed(afdctl("attack", "wgan", *PGD))["curves"][0]
    first = afdctl("attack", f"model:{card}", *PGD, "--runs", "others")
    (curve,) = printed(first)["curves"]
    for same in ("accuracies", "n", "attack"):
        assert curve[same] == original[same]
    (run,) = Run.all(Path("others"))
    assert run.name == f"mine-{model_card.load(str(card)).card.weights[:8]}"
    assert f"model:{card}: results go to others/{run.name}\n" in first.err
    again = afdctl("attack", f"model:{card}", *PGD, "--runs", "others")
    assert "1 done already" in again.err
    assert "results go to" not in again.err
    assert Run.all(Path("others")) == [run]


def test_a_model_whose_import_was_killed_is_imported_again(afdctl: Afdctl, card: Path, tmp_path: Path):
    # a kill leaves the folder, which is removed otherwise
    with Run.begin(tmp_path, "mine", model_card.load(str(card)).run_name) as (run, _):
        kept = shutil.copytree(run.path, tmp_path / "kept")
    kept.rename(run.path)
    words = f"attack model:{card} --attack fgsm --epsilon 0.1 --limit 2 --runs {tmp_path}".split()
    ended = afdctl(*words)
    assert ended.code == 0, ended.err
    assert run.kind == "imported"


def test_a_model_as_the_source_of_a_transfer_attack(afdctl: Afdctl, card: Path):
    (curve,) = printed(afdctl("attack", "nt", "--from", f"model:{card}", *PGD))["curves"]
    assert curve["source"].startswith("mine-")


def test_a_model_is_exported_and_analysed(afdctl: Afdctl, card: Path, folder: Path):
    (path,) = afdctl("export", f"model:{card}", "--weights", "safetensors", "--out", "weights/").out.split()
    exported, own = load_file(folder / path), load_file(card.with_suffix(".safetensors"))
    assert all(torch.equal(exported[name], own[name]) for name in own)
    (row,) = printed(afdctl("analyze", f"model:{card}", "--pca", "--limit", "20", "--json"))["analyses"]
    assert row["run"].startswith("mine-")
    # the file has no discriminator, and random weights must not pass for the trained ones
    run = Run.find(row["run"], folder / "runs")
    assert load_discriminator(run, "best", load_run_target(run, "best", CPU, None)) is None
    assert "AFD-WGAN" in afdctl("export", f"model:{card}", "--table", "1").out


def test_the_run_of_a_model_is_found_by_the_models_name(afdctl: Afdctl, card: Path, tmp_path: Path):
    name = f"model:{card}"
    missing = afdctl("runs", "show", name, "--runs", str(tmp_path))
    remedy = f"run `afdctl sweep {name} --runs {tmp_path}` first"
    assert (missing.code, missing.err) == (7, f"error: {name}: nothing is measured under {tmp_path}; {remedy}\n")
    assert afdctl("attack", name, "--attack", "fgsm", "--epsilon", "0.1", "--limit", "2").code == 0
    shown = printed(afdctl("runs", "show", name, "--json"))
    assert shown["run"]["name"] == model_card.load(name).run_name
    assert "wgan" in afdctl("runs", "compare", name, "wgan").out


def test_a_card_as_it_is_shown(afdctl: Afdctl, card: Path):
    text = afdctl("models", "show", str(card)).out
    assert text.startswith("mine  AFD-WGAN on digits, seed 1: ")
    assert "│ aa             │ L∞ 0.1  │" in text
    assert 'run = "wgan"' in text
    assert "[defense]" in text
    found = printed(afdctl("models", "show", f"model:{card}", "--json"))
    assert (found["schema"], found["model"]["name"], found["model"]["seed"]) == ("afdctl/1", "mine", 1)
    assert found["model"]["size"] == card.with_suffix(".safetensors").stat().st_size
    assert found["model"]["recipe"]["defense"]["name"] == "afd"


def test_the_packaged_models_are_listed(afdctl: Afdctl, card: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_card, "packaged", dict)
    assert afdctl("models", "ls") == Ended(0, "", "no model is packaged; make one with `afdctl models add`\n")
    monkeypatch.setattr(model_card, "packaged", lambda: {"mine": folder / "mine.toml"})
    lines = afdctl("models", "ls").out.splitlines()
    assert "mine │ digits   │ AFD-WGAN │ L∞ 0.1" in lines[3]
    assert "n=2 " in lines[3]
    assert [model["name"] for model in printed(afdctl("models", "ls", "--json"))["models"]] == ["mine"]
    ended = afdctl("sweep", "model:mien")
    assert (ended.code, ended.err) == (2, "error: mien: no such model (did you mean 'mine'?)\n")
    ended = afdctl("sweep", "model:")
    assert (ended.code, ended.err) == (2, "error: model: names no model; `afdctl models ls` lists the packaged ones\n")


def test_models_are_searched_beside_the_packaged_recipes():
    assert {path.parent for path in model_card.packaged().values()} <= {recipes() / "models"}


def test_a_run_that_cannot_become_a_model(afdctl: Afdctl, card: Path, folder: Path):
    def refusal(*arguments: str) -> tuple[int, str]:
        ended = afdctl("models", "add", *arguments)
        assert ended.out == ""
        return ended.code, ended.err

    code, error = refusal("nt", "--name", "new")
    assert (code, error) == (
        3,
        "error: nt: no AutoAttack with its own settings at L∞ 0.1 on the best checkpoint; run "
        "`afdctl attack runs/nt --attack aa --epsilon 0.1`\n",
    )
    weaker = ("--set", "queries=1", "--set", "steps=1")
    assert afdctl("attack", "nt", *AUTOATTACK, *weaker).code == 0
    assert refusal("nt", "--name", "new") == (code, error)
    imported = model_card.load(str(card)).run_name
    assert refusal(imported, "--name", "new")[1].startswith(f"error: {imported}: this run is imported, not trained; ")
    assert refusal("wgan", "--name", "a/b") == (
        2,
        "error: --name 'a/b': has '/' in it; use letters, digits, '-' and '_'\n",
    )
    assert refusal("wgan", "--name", "mine")[1] == (
        "error: mine.toml: exists; choose another --name, or pass --force to overwrite it\n"
    )
    assert refusal("wgna", "--name", "new")[0] == 3
    assert not list(folder.glob("new*"))
    assert afdctl("models", "add", "wgan", "--name", "mine", "--force", "--limits", "Not for use.").code == 0
    assert model_card.load(str(card)).card.limits == "Not for use."


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda text: text.replace("parameters", "params"), 2, ":3: params: no such key (did you mean 'parameters'?)"),
        (lambda text: text.replace('attack = "aa"', 'attack = "ab"'), 2, "a card needs the attack aa"),
        (lambda text: text + "x", 2, "not TOML"),
        (lambda text: text.replace('weights = "', 'weights = "0'), 2, "must be a SHA-256, 64 hexadecimal digits"),
        (lambda text: text.replace("width = 4", "width = 8"), 2, "does not fit the model: "),
    ],
)
def test_a_damaged_card_is_one_line(afdctl: Afdctl, card: Path, tmp_path: Path, change: Any, code: int, message: str):
    (tmp_path / "mine.toml").write_text(change(card.read_text()))
    (tmp_path / "mine.safetensors").write_bytes(card.with_suffix(".safetensors").read_bytes())
    ended = afdctl("attack", f"model:{tmp_path}/mine.toml", *PGD, "--runs", str(tmp_path / "runs"))
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert ended.err.startswith("error: ")
    assert not list(tmp_path.glob("runs/*"))


def test_weights_that_are_not_the_cards(afdctl: Afdctl, card: Path, tmp_path: Path):
    copy = tmp_path / "mine.toml"
    copy.write_bytes(card.read_bytes())
    command = ("attack", f"model:{copy}", *PGD, "--runs", str(tmp_path / "runs"))
    missing = afdctl(*command)
    assert missing.code == 3
    assert "mine.safetensors: cannot be read (No such file or directory); install afdctl again, or" in missing.err
    data = bytearray(card.with_suffix(".safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(data)
    damaged = afdctl(*command)
    assert damaged.code == 3
    assert "mine.safetensors: not the weights that the card describes; install afdctl again, or" in damaged.err
    assert not list(tmp_path.glob("runs/*"))
