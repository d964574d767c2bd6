"""Test precision and compilation: what they must not change, and what they may change a little."""

from pathlib import Path

import pytest
import torch

from afdctl.errors import StoppedError
from afdctl.journal import drop_superseded, read_rows
from afdctl.recipe import Recipe, dump
from afdctl.recipe.schema import COMPILE_MODES
from afdctl.runs.run import Run
from afdctl.training.run_data import load_dataset
from afdctl.training.setup import resume
from afdctl.training.trainer import Trainer
from tests.conftest import short
from tests.training.test_resume import assert_same_state, figures, quiet, stop_after, train

CUDA = torch.device("cuda:0")
# 12 full batches and a smaller one an epoch; epsilon grows during the first epoch.
MORE = ["train.batch_size=100", "train.report_every=1", "attack.epsilon_warmup_epochs=1"]
# with BatchNorm, which the adversary folds into the convolutions, and without it
RESNET, LENET = "model.encoder=resnet18", "model.encoder=lenet"
ENCODERS = {"digits_wgan": LENET, "digits_dcgan": LENET, "digits_at": RESNET, "digits_trades": RESNET}


def losses(run: Run, name: str = "L_C") -> list[float]:
    return [row[name] for row in drop_superseded(read_rows(run.journal_path)) if row["event"] == "step"]


def accuracies(run: Run) -> tuple[float, float]:
    """Clean and PGD accuracy of the last checkpoint."""
    row = next(row for row in drop_superseded(read_rows(run.journal_path)) if row["event"] == "test")
    return row["acc_nat"], row["acc_adv"]


def on_cuda(recipe: Recipe, runs: Path, on_line=quiet) -> Run:
    return train(recipe, runs, on_line, device="cuda")


def assert_resumed_to_the_bit(whole: Run, recipe: Recipe, runs: Path, stop_at: int) -> None:
    """A stopped and resumed training equals the uninterrupted one."""
    with pytest.raises(StoppedError):
        train(recipe, runs, stop_after(stop_at))
    parts = Run.find("latest", runs)
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


@pytest.mark.parametrize("name", ["digits_wgan", "digits_trades"])
def test_a_compiled_training_is_resumed_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """With a backend that compiles nothing, for speed; compiled code is not part of a checkpoint."""
    compiler = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda call, *, dynamic, mode: compiler(call, dynamic=dynamic, backend="eager")
    )
    # tracing a ResNet takes a minute
    recipe = short(name, *MORE, "train.compile=reduce-overhead")
    whole = train(recipe, tmp_path / "whole")
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=17)


def test_a_training_with_awp_is_resumed_to_the_bit(tmp_path: Path):
    """Weights are perturbed and restored inside a step, so a checkpoint never has the perturbed ones."""
    recipe = short("digits_at_awp", *MORE, RESNET)
    whole = train(recipe, tmp_path / "whole")
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=17)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_a_training_in_each_mode_is_resumed_to_the_bit(tmp_path: Path, mode: str):
    recipe = short("digits_wgan", "train.report_every=1", f"train.compile={mode}")
    whole = train(recipe, tmp_path / "whole")
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=3)


@pytest.mark.slow
def test_a_training_in_bf16_is_resumed_to_the_bit(tmp_path: Path):
    recipe = short("digits_wgan", "train.precision=bf16", "train.report_every=1", "model.encoder=resnet18_mnist")
    whole = train(recipe, tmp_path / "whole")
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_at", "digits_wgan"])
def test_bf16_learns_about_as_well(tmp_path: Path, name: str):
    """A CPU without instructions for it takes three times as long."""
    more = ["train.epochs=12", "train.milestones=[10]", "train.batch_size=64", "model.width=16"]
    more += ["attack.epsilon_warmup_epochs=3", "test.limit=360", "test.steps=10"]
    low, plain = (
        accuracies(train(short(name, *more, ENCODERS[name], f"train.precision={precision}"), tmp_path / precision))
        for precision in ("bf16", "float32")
    )
    assert plain[1] > 0.5
    assert low == pytest.approx(plain, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_a_compiled_encoder_learns_the_same(tmp_path: Path, mode: str):
    """Rounding differs, so only the first losses can be compared."""
    more = [RESNET, "train.epochs=1", "train.milestones=[]", "train.batch_size=100"]
    more += ["attack.return_iterate=last", "attack.epsilon_warmup_epochs=0"]
    plain, compiled = (
        losses(train(short("digits_at", *more, f"train.compile={how}"), tmp_path / how)) for how in ("false", mode)
    )
    assert compiled[:5] == pytest.approx(plain[:5], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", COMPILE_MODES)
@pytest.mark.parametrize("name", ENCODERS)
def test_compiled_steps_train_as_eager_ones_do_on_a_gpu(tmp_path: Path, name: str, mode: str):
    """Includes the end of the warm-up and the first decay of the learning rate."""
    more = [ENCODERS[name], "train.milestones=[1]"]
    compiled, eager = (
        losses(on_cuda(short(name, *MORE, *more, f"train.compile={how}"), tmp_path / how)) for how in (mode, "false")
    )
    assert compiled[:14] == pytest.approx(eager[:14], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", COMPILE_MODES)
def test_a_compiled_run_is_resumed_on_a_gpu(tmp_path: Path, mode: str):
    recipe = short("digits_wgan", *MORE, f"train.compile={mode}")
    whole = losses(on_cuda(recipe, tmp_path / "whole"))
    with pytest.raises(StoppedError):
        on_cuda(recipe, tmp_path / "parts", stop_after(16))
    parts = Run.find("latest", tmp_path / "parts")
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert losses(parts)[:18] == pytest.approx(whole[:18], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_step_never_synchronises(tmp_path: Path, name: str, precision: str):
    """After a warm-up: the first step may synchronise."""
    penalty = ["defense.gp_weight=1.0"] if name == "digits_wgan" else []
    more = [ENCODERS[name], f"train.precision={precision}", "train.batch_size=100"]
    recipe = short(name, "attack.epsilon_warmup_epochs=0", *more, *penalty)
    run = Run.create(tmp_path, "run", dump(recipe), {})
    with run.open_journal() as journal:
        dataset = load_dataset(recipe.data, None)
        trainer = Trainer(run=run, recipe=recipe, dataset=dataset, device=CUDA, journal=journal)
        trainer.network.train()
        for _ in range(2):
            trainer.train_step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                trainer.train_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_bf16_and_float32_are_about_as_accurate_on_a_gpu(tmp_path: Path):
    more = ["train.epochs=20", "train.milestones=[15]", "train.batch_size=64", "model.width=32", "attack.steps=10"]
    more += ["test.limit=360", "test.steps=20"]
    low, plain = (
        accuracies(on_cuda(short("digits_wgan", *more, f"train.precision={precision}"), tmp_path / precision))
        for precision in ("bf16", "float32")
    )
    assert low == pytest.approx(plain, abs=0.05)
