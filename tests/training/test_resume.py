"""Test that a resumed run is bit-identical to one that was never stopped: state and journaled metrics."""

import os
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from afdctl import registry
from afdctl.errors import StoppedError
from afdctl.journal import drop_superseded, read_rows
from afdctl.models import lenet
from afdctl.recipe import loads
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training.setup import resume
from afdctl.training.trainer import Trainer
from tests.conftest import short, train

RECIPES = {
    "natural": ("digits_nt", []),
    # a warm-up of 10 epochs that ends with the two of the training
    "adversarial": ("digits_at", []),
    "adversarial ramped": (
        "digits_at",
        [
            "attack.epsilon_warmup_epochs=1.5",
            "attack.n_fgsm_epochs=1",
            "attack.steps_warmup_epochs=2",
            "train.epochs=4",
            "train.ema_decay=0.9",
        ],
    ),
    # the probe's random starts are the same in all epochs
    "trades": (
        "digits_trades",
        ["train.checkpoint_selection=probe", "validation.limit=9", "validation.square_queries=20"],
    ),
    "afd": ("digits_wgan", ["defense.gp_weight=1.0", "data.augment=crop_flip"]),
    # the average is of BatchNorm's statistics too
    "afd sequential": (
        "digits_dcgan",
        ["defense.update=sequential", "model.encoder=resnet18_mnist", "train.ema_decay=0.9"],
    ),
    "adversarial mixed": (
        "digits_at",
        [
            *("data.augment=crop", "data.random_erasing=0.5", "data.cutmix=1.0"),
            *("defense.label_smoothing=0.1", "defense.nesterov_C=true"),
            *("train.schedule=cosine", "train.milestones=[]", "train.warmup_fraction=0.3"),
        ],
    ),
    "matching": ("digits_wgan", ["defense.name=matching", "data.augment=crop", "data.train_limit=1100"]),
    "mart": ("digits_mart", []),
    "score": ("digits_score", []),
    "alp": ("digits_alp", []),
}
CLOCK = {"t", "images_per_s", "seconds"}


def quiet(line: str) -> None:
    pass


def stop_after(step: int) -> Callable[[str], None]:
    """Send SIGTERM to this process when the journal has the step."""

    def on_line(line: str) -> None:
        if f'"step":{step},' in line and '"event":"step"' in line:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_line


def leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from leaves(value)
    else:
        yield state


def assert_same_state(run: Run, other: Run) -> None:
    first, second = (checkpoints.load(run).state for run in (run, other))
    assert first.keys() == second.keys()
    pairs = list(zip(leaves(first), leaves(second), strict=True))
    assert len(pairs) > 40
    for a, b in pairs:
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def figures(run: Run) -> list[dict[str, Any]]:
    """Return the journal without times and without the checkpoints that a stop adds."""
    counted = drop_superseded(read_rows(run.journal_path))
    rows = [row for row in counted if row["event"] in ("step", "epoch", "test", "end")]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def test_every_defense_is_tested():
    assert {short(name, *more).defense.name for name, more in RECIPES.values()} == set(registry.DEFENSES)


@pytest.fixture(scope="module", params=RECIPES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of each defense that was never stopped."""
    name, more = RECIPES[request.param]
    return train(short(name, *more, "train.report_every=1"), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(2, id="mid-epoch"),
        pytest.param(5, id="end of an epoch", marks=pytest.mark.slow),
        pytest.param(7, id="second epoch", marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, whole: Run, stop: int):
    recipe = loads(whole.recipe_text)
    with pytest.raises(StoppedError) as stopped:
        train(recipe, tmp_path / "parts", stop_after(stop))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    parts = Run.find("run-001", tmp_path / "parts")
    assert [row["reason"] for row in read_rows(parts.journal_path) if row["event"] == "end"] == ["stopped"]
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


def test_random_layers_draw_the_same_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Dropout draws from torch's global generator, whose state before and after a training is the caller's."""
    flatten = nn.Flatten
    monkeypatch.setattr(lenet.nn, "Flatten", lambda: nn.Sequential(flatten(), nn.Dropout(0.5)))
    recipe = short("digits_at", "train.report_every=1", "train.epochs=1")
    before = torch.get_rng_state()
    whole = train(recipe, tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "parts", stop_after(2))
    torch.manual_seed(2)
    parts = resume(Run.find("run-001", tmp_path / "parts"), device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    ["sampler", "rng", "defense.network", "defense.D_psi", *(f"defense.optimizer_{which}" for which in "CDF")],
)
def test_every_part_of_the_state_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str):
    """The comparison above would fail if a checkpoint left a part out."""
    recipe = short("digits_wgan", "train.report_every=1")
    uninterrupted = train(recipe, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "parts", stop_after(3))
    restore = Trainer.load_state_dict

    def forgetful(trainer: Trainer, state: dict[str, Any]) -> None:
        kept, fresh, (*path, name) = state, deepcopy(trainer.state_dict()), part.split(".")
        for key in path:
            kept, fresh = kept[key], fresh[key]
        kept[name] = fresh[name]
        restore(trainer, state)

    monkeypatch.setattr(Trainer, "load_state_dict", forgetful)
    run = Run.find("latest", tmp_path / "parts")
    resume(run, device=None, data_dir=None, on_line=quiet)
    weights = [checkpoints.load(trained).state["defense"] for trained in (uninterrupted, run)]
    differ = [a for a, b in zip(*map(leaves, weights), strict=True) if isinstance(a, Tensor) and not torch.equal(a, b)]
    assert differ


def test_four_epochs_are_two_and_two(tmp_path: Path):
    """Stopped between epochs: SIGTERM arrives while the second epoch's checkpoint is journaled."""
    recipe = short("digits_wgan", "train.epochs=4", "train.report_every=1", "train.milestones=[1,3]")
    whole = train(recipe, tmp_path / "whole")

    def on_line(line: str) -> None:
        if '"event":"checkpoint"' in line and '"step":10,"epoch":2' in line:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "parts", on_line)
    parts = Run.find("latest", tmp_path / "parts")
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)
    assert [row["lr_F"] for row in figures(parts) if row["event"] == "step"][::5] == pytest.approx(
        [0.5, 0.05, 0.05, 0.005]
    )


def test_a_damaged_newest_checkpoint_is_replaced_by_the_previous_one(tmp_path: Path):
    recipe = short("digits_wgan", "train.report_every=1")
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "parts", stop_after(7))
    parts = Run.find("latest", tmp_path / "parts")
    newest = checkpoints.load(parts).path
    newest.write_bytes(newest.read_bytes()[:-1])
    resume(parts, device=None, data_dir=None, on_line=quiet)
    warnings = [row["message"] for row in read_rows(parts.journal_path) if row["event"] == "warning"]
    assert len(warnings) == 1
    assert newest.name in warnings[0]
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


def test_a_run_remembers_its_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for split, label in product(("train", "test"), ("a", "b")):
        folder = tmp_path / "images" / split / label
        folder.mkdir(parents=True)
        for index in range(12):
            Image.new("RGB", (8, 8), (20 * index, 0, 255 * (label == "b"))).save(folder / f"{index}.png")
    more = "data.image_size=8", "data.holdout=8", "train.batch_size=4", "train.report_every=1", "attack.steps=1"
    recipe = short("folder_wgan", *more)
    monkeypatch.setenv("AFDCTL_DATA", str(tmp_path / "images"))
    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "runs", stop_after(2))
    monkeypatch.delenv("AFDCTL_DATA")
    run = resume(Run.find("latest", tmp_path / "runs"), device=None, data_dir=None, on_line=quiet)
    assert run.finished
