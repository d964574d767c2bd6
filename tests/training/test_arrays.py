"""Test trainings on arrays and on extra images: from start to sweep, and what a resume verifies."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from afdctl import recipe
from afdctl.errors import CorruptError, DataMissingError, StoppedError
from afdctl.evaluation.target import load_run_target
from afdctl.journal import read_rows
from afdctl.recipe import Recipe
from afdctl.runs.run import Run
from afdctl.training.setup import resume
from tests.conftest import SHORT, train
from tests.training.test_resume import assert_same_state, figures, quiet, stop_after


def make_svhn(path: Path, count: int, x_name: str = "x_train", y_name: str = "y_train") -> Path:
    """Write images shaped as SVHN's, brighter for a higher digit, and a test split of 20."""
    rng = np.random.default_rng(count)

    def split(size: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(size) % 10
        return (rng.integers(0, 50, (size, 32, 32, 3)) + 20 * y[:, None, None, None]).astype(np.uint8), y

    (x, y), (x_test, y_test) = split(count), split(20)
    np.savez(path, **{x_name: x, y_name: y, "x_test": x_test, "y_test": y_test})
    return path


def recipe_of(folder: Path, *overrides: str) -> Recipe:
    make_svhn(folder / "svhn.npz", 90)
    keys = ["data.dataset=arrays", f"data.path={folder / 'svhn.npz'}", "data.holdout=20", "model.encoder=lenet"]
    keys += ["train.batch_size=32", "train.checkpoint_selection=last"]
    return recipe.load("digits_at", [*SHORT, "train.report_every=1", *keys, *overrides])


def with_extra(folder: Path) -> Recipe:
    make_svhn(folder / "generated.npz", 40, "image", "label")
    return recipe_of(folder, f"data.extra={folder / 'generated.npz'}", "data.extra_share=0.6", "data.cutmix=1.0")


def test_a_run_on_arrays_trains_and_its_target_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = train(recipe_of(tmp_path), tmp_path)
    header = next(iter(read_rows(run.journal_path)))
    assert (header["classes"], header["images"]) == (10, {"train": 70, "holdout": 20, "test": 20})
    assert run.provenance["data_dir"] == str(tmp_path / "svhn.npz")
    # the file is found from another working directory, and where it was moved to
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    target = load_run_target(run, "best", torch.device("cpu"), None)
    assert (target.dataset, tuple(target.split.x.shape)) == ("arrays", (20, 3, 32, 32))
    moved = (tmp_path / "svhn.npz").rename(tmp_path / "moved.npz")
    assert load_run_target(run, "best", torch.device("cpu"), moved).data_digest == target.data_digest
    with pytest.raises(DataMissingError, match=r"svhn\.npz: no such file; name a file of arrays with .* --data-dir"):
        load_run_target(run, "best", torch.device("cpu"), None)


def test_extra_images_are_recorded_and_verified_at_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = with_extra(tmp_path)
    whole = train(chosen, tmp_path / "whole")
    assert next(iter(read_rows(whole.journal_path)))["images"]["extra"] == 40
    assert whole.provenance["extra"] == str(tmp_path / "generated.npz")
    # which images a network was trained on says nothing of the images that it is tested on
    assert whole.provenance["data_digest"] == train(recipe_of(tmp_path), tmp_path / "plain").provenance["data_digest"]

    with pytest.raises(StoppedError) as stopped:
        train(chosen, tmp_path / "parts", stop_after(2))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    parts = Run.find("run-001", tmp_path / "parts")
    original = (tmp_path / "generated.npz").read_bytes()
    make_svhn(tmp_path / "generated.npz", 50, "image", "label")
    with pytest.raises(CorruptError, match=r"generated\.npz: not the images of data\.extra that .* used; put them"):
        resume(parts, device=None, data_dir=None, on_line=quiet)
    (tmp_path / "generated.npz").write_bytes(original)
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


def test_mapped_images_train_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = with_extra(tmp_path)
    in_memory = train(chosen, tmp_path / "memory")
    monkeypatch.setattr("afdctl.data.array_images.IN_MEMORY_BYTES", 0)
    mapped = train(chosen, tmp_path / "mapped")
    assert_same_state(in_memory, mapped)
    assert in_memory.provenance["data_digest"] == mapped.provenance["data_digest"]


def test_a_mistake_in_the_arrays_leaves_no_run(tmp_path: Path):
    chosen = recipe_of(tmp_path)
    arrays = dict(np.load(tmp_path / "svhn.npz"))
    np.savez(tmp_path / "svhn.npz", **(arrays | {"y_train": arrays["y_train"] + 1}))
    with pytest.raises(CorruptError, match="y_train begins at 1"):
        train(chosen, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
