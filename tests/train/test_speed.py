"""Ways to train faster: what must not change by them, and what may change a little."""

from pathlib import Path

import pytest
import torch

from afdctl.attacks.captured import Recording
from afdctl.data import load
from afdctl.errors import StoppedError
from afdctl.events import read
from afdctl.models.capture import WARM_UPS
from afdctl.models.feature_classifier import build
from afdctl.recipe import Recipe, dump
from afdctl.recipe.schema import Model, Train
from afdctl.store.outline import effective
from afdctl.store.run import Run
from afdctl.train import loop
from afdctl.train.loop import Trainer
from afdctl.train.speed import captures, captures_step, quicken
from afdctl.train.start import resume
from tests.conftest import short
from tests.train.test_resume import assert_same_state, figures, quiet, stop_after, train

CUDA = torch.device("cuda:0")
MORE = ["train.batch_size=100", "train.report_every=1", "attack.warmup=1"]
"""Five epochs' worth of forms: 12 full batches, a short one, and an epsilon that grows in the first epoch."""


def losses(run: Run, name: str = "L_C") -> list[float]:
    return [row[name] for row in effective(read(run.journal_path)) if row["event"] == "step"]


def accuracies(run: Run) -> tuple[float, float]:
    """Clean and PGD accuracy of the last checkpoint."""
    row = next(row for row in effective(read(run.journal_path)) if row["event"] == "test")
    return row["acc_nat"], row["acc_adv"]


def on_cuda(recipe: Recipe, runs: Path, on_line=quiet) -> Run:
    return train(recipe, runs, on_line, device="cuda")


def assert_resumed_to_the_bit(whole: Run, recipe: Recipe, runs: Path, stop_at: int) -> None:
    """A training that was stopped and went on ends as the uninterrupted one did."""
    with pytest.raises(StoppedError):
        train(recipe, runs, stop_after(stop_at))
    parts = Run.find("latest", runs)
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(whole, parts)
    assert figures(whole) == figures(parts)


def test_graphs_are_for_cuda_only_and_asked_for():
    table = Train(epochs=1, graphs=True)
    assert captures(table, CUDA)
    assert not captures(table, torch.device("cpu"))
    assert not captures(Train(epochs=1), CUDA)
    table = Train(epochs=1, graphs="step")
    assert captures_step(table, CUDA)
    assert not captures(table, CUDA), "no graph within a graph"
    assert not captures_step(table, torch.device("cpu"))
    assert not captures_step(Train(epochs=1, graphs=True), CUDA)


@pytest.mark.slow
def test_torch_compiles_more_forms_than_it_does_by_itself():
    """A training has ten or so, and torch runs the ninth and all after it eagerly."""
    network = build(Model(encoder="lenet", width=2), channels=1, image_size=8, classes=3)
    with torch._dynamo.config.patch(recompile_limit=8):
        quicken(network, Train(epochs=1))
        assert torch._dynamo.config.recompile_limit == 8
        quicken(network, Train(epochs=1, compile=True))
        assert torch._dynamo.config.recompile_limit >= 32


@pytest.mark.parametrize("what", [pytest.param("captures", marks=pytest.mark.slow), "captures_step"])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("digits_wgan", ["defense.gp_weight=1.0", "train.schedule=one_cycle", "train.milestones=[]"]),
        pytest.param("digits_trades", [], marks=pytest.mark.slow),
    ],
)
def test_recorded_steps_train_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, more: list[str], what: str
):
    """Also where the training was stopped and went on: nothing of a recording is in a checkpoint."""
    recipe = short(name, *MORE, *more)
    plain = train(recipe, tmp_path / "plain")
    replayed: list[int] = []
    run = Recording.__call__
    monkeypatch.setattr(Recording, "__call__", lambda self, x, y: replayed.append(len(x)) or run(self, x, y))
    monkeypatch.setattr(loop, what, lambda table, device: True)
    recorded = train(recipe, tmp_path / "recorded")
    assert set(replayed) == {100}
    assert len(replayed) >= 9
    assert_same_state(plain, recorded)
    assert figures(plain) == figures(recorded)
    assert_resumed_to_the_bit(plain, recipe, tmp_path / "parts", stop_at=17)


@pytest.mark.slow
def test_a_training_in_bf16_is_resumed_to_the_bit(tmp_path: Path):
    recipe = short("digits_wgan", "train.precision=bf16", "train.report_every=1", "model.encoder=resnet18_mnist")
    whole = train(recipe, tmp_path / "whole")
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_at", "digits_wgan"])
def test_bf16_learns_about_as_well(tmp_path: Path, name: str):
    """A CPU without instructions for it takes three times as long."""
    more = ["train.epochs=12", "train.milestones=[10]", "train.batch_size=64", "model.width=16", "attack.warmup=3"]
    more += ["test.limit=360", "test.steps=10"]
    low, plain = (
        accuracies(train(short(name, *more, f"train.precision={precision}"), tmp_path / precision))
        for precision in ("bf16", "float32")
    )
    assert plain[1] > 0.5
    assert low == pytest.approx(plain, abs=0.05)


@pytest.mark.slow
def test_a_compiled_encoder_learns_the_same(tmp_path: Path):
    """Rounding differs, so only the first losses can be compared."""
    more = ["train.epochs=1", "train.milestones=[]", "train.batch_size=100", "attack.keep=last", "attack.warmup=0"]
    plain, compiled = (
        losses(train(short("digits_at", *more, f"train.compile={how}"), tmp_path / how)) for how in ("false", "true")
    )
    assert compiled[:5] == pytest.approx(plain[:5], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["true", "step"])
@pytest.mark.parametrize("name", ["digits_wgan", "digits_dcgan", "digits_at", "digits_trades"])
def test_graphs_train_as_eager_steps_do(tmp_path: Path, name: str, how: str):
    """Over the end of a warm-up, the first replays and the first fall of the rates."""
    more = ["train.milestones=[1]"]
    graphs, eager = (
        losses(on_cuda(short(name, *MORE, *more, f"train.graphs={which}"), tmp_path / which))
        for which in (how, "false")
    )
    assert graphs[:14] == pytest.approx(eager[:14], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["true", "step"])
def test_a_run_with_graphs_is_resumed(tmp_path: Path, how: str):
    recipe = short("digits_wgan", *MORE, f"train.graphs={how}")
    whole = losses(on_cuda(recipe, tmp_path / "whole"))
    with pytest.raises(StoppedError):
        on_cuda(recipe, tmp_path / "parts", stop_after(16))
    parts = Run.find("latest", tmp_path / "parts")
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert losses(parts)[:18] == pytest.approx(whole[:18], rel=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["false", "true", "step"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["digits_wgan", "digits_dcgan", "digits_at", "digits_trades"])
def test_a_step_never_synchronises(tmp_path: Path, name: str, precision: str, graphs: str):
    """Warm: the first steps make and record what is needed."""
    penalty = ["defense.gp_weight=1.0"] if name == "digits_wgan" else []
    more = [f"train.precision={precision}", f"train.graphs={graphs}", "train.batch_size=100"]
    recipe = short(name, "attack.warmup=0", *more, *penalty)
    run = Run.create(tmp_path, "run", dump(recipe), {})
    with run.open_journal() as journal:
        trainer = Trainer(run, recipe, load(recipe.data, None), CUDA, journal)
        trainer.network.train()
        for _ in range(WARM_UPS + 2):
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
