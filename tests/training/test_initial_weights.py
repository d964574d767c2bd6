"""Train from the weights of a run, a packaged model or a file, with frozen parts."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from afdctl.errors import AfdctlError, NotFoundError, RecipeError, StoppedError
from afdctl.journal import read_rows
from afdctl.recipe import digest, loads
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training.setup import resume
from tests.conftest import short, train
from tests.training.test_resume import assert_same_state, figures, quiet, stop_after

SOURCE = ("digits_nt", "model.encoder=resnet18_mnist", "train.epochs=1", "train.ema_decay=0.9")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(short(*SOURCE), tmp_path_factory.mktemp("source"), name="source")


def fine_tuned(runs: Path, weights: object, *overrides: str, **more: Any) -> Run:
    return train(
        short("digits_at", "model.encoder=resnet18_mnist", f"model.weights={weights}", *overrides), runs, **more
    )


def weights_of(run: Run, which: str = "last") -> dict[str, Any]:
    tensors: dict[str, Any] = checkpoints.load(run, which).network
    return {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_a_run_starts_from_the_evaluated_weights_of_the_best_checkpoint(tmp_path: Path, source: Run):
    run = fine_tuned(tmp_path, source.path, "defense.lr_C=0", "defense.weight_decay_C=0", 'train.freeze=["F_theta"]')
    before = checkpoints.load(source, "best")
    assert changed(weights_of(source, "best"), weights_of(run)) == set()
    facts = run.provenance["initial_weights"]
    assert facts == {"run": "source", "file": str(before.path.resolve()), "sha256": before.digest}
    # other weights under the same name make another recipe
    assert loads(run.recipe_text).model.weights_sha256 == before.digest
    assert digest(loads(run.recipe_text)) != digest(short(*SOURCE))


@pytest.mark.parametrize(("frozen", "moved"), [("F_theta", {"C_phi"}), ("C_phi", {"F_theta"})])
def test_a_frozen_part_keeps_weights_and_running_statistics(tmp_path: Path, source: Run, frozen: str, moved: set[str]):
    run = fine_tuned(tmp_path, source.path, f'train.freeze=["{frozen}"]', "defense.weight_decay_C=0.1")
    assert changed(weights_of(source, "best"), weights_of(run)) == moved


def test_a_resumed_run_does_not_need_the_source(tmp_path: Path, source: Run):
    """It is bit-identical to a run that was not stopped."""
    file = tmp_path / "w.pt"
    torch.save(weights_of(source), file)
    settings = ['train.freeze=["F_theta"]', "train.ema_decay=0.5", "train.report_every=1"]
    whole = fine_tuned(tmp_path / "whole", file, *settings)
    with pytest.raises(StoppedError):
        fine_tuned(tmp_path / "parts", file, *settings, on_line=stop_after(2))
    file.unlink()
    parts = Run.find("run-001", tmp_path / "parts")
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


def test_a_file_of_tensors_alone_is_checked_by_its_metadata(tmp_path: Path, source: Run):
    file = tmp_path / "w.safetensors"
    save_file(weights_of(source), file, {"feature_norm": '"none"'})
    with pytest.raises(RecipeError, match=r'^model.weights: .*features are normalised by "none"'):
        fine_tuned(tmp_path, file)
    save_file(weights_of(source), file, {"feature_norm": '"l2"'})
    run = fine_tuned(tmp_path, file, "train.epochs=1")
    assert run.provenance["initial_weights"] == {"file": str(file), "sha256": sha256(file.read_bytes()).hexdigest()}


def test_a_packaged_model(tmp_path: Path):
    overrides = ["model.width=32", "train.epochs=1", 'train.freeze=["F_theta"]']
    run = train(short("digits_nt", "model.weights=model:digits_wgan", *overrides), tmp_path)
    assert run.provenance["initial_weights"]["model"] == "digits_wgan"
    (row,) = (row for row in read_rows(run.journal_path) if row["event"] == "epoch")
    assert row["acc_nat"] > 0.9


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        ("nix", NotFoundError, r"^model.weights: nix: no such run under .*; name a run's folder \(a file of w"),
        (
            "w.npz",
            NotFoundError,
            r"w.npz: no .* \(a file of weights has the suffix .pt, .pth, .safetensors\)$",
        ),
        ("nix.pt", NotFoundError, r"^model.weights: nix.pt: no such file$"),
        ("model:nix", RecipeError, r"^model.weights: nix: no such model"),
    ],
)
def test_what_is_not_there_is_one_line_and_leaves_no_run(
    tmp_path: Path, weights: str, kind: type[AfdctlError], message: str
):
    with pytest.raises(kind, match=message):
        fine_tuned(tmp_path, weights)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.encoder=lenet", 'encoder resnet18_mnist, this recipe has lenet; set model.encoder = "resnet18_mnist"'),
        ("model.width=3", "width 4, this recipe has 3; set model.width = 4"),
    ],
)
def test_a_run_of_another_network_is_named_by_its_recipe(tmp_path: Path, source: Run, override: str, message: str):
    with pytest.raises(RecipeError, match=rf"^model.weights: .*\.pt: {message}$"):
        fine_tuned(tmp_path, source.path, override)


def test_other_weights_than_those_of_the_recipe_are_refused(tmp_path: Path, source: Run):
    with pytest.raises(RecipeError, match=r"has another SHA-256 than model.weights_sha256"):
        fine_tuned(tmp_path, source.path, f"model.weights_sha256={'0' * 64}")
