"""Test what a training writes: journal, checkpoints, results, provenance."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import torch

from afdctl.data.loader import Split
from afdctl.data.subset import Subset
from afdctl.errors import DivergedError
from afdctl.journal import drop_superseded, read_rows
from afdctl.models.feature_classifier import build
from afdctl.recipe import loads
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training import trainer
from afdctl.training.adversary import Adversary
from afdctl.training.evaluate import evaluate
from afdctl.training.evaluation_parts import evaluation_parts
from afdctl.training.setup import load_dataset
from tests.conftest import short
from tests.training.test_resume import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(short("digits_wgan", "train.epochs=3"), tmp_path_factory.mktemp("runs"))


def rows(run: Run, event: str) -> list[dict]:
    return [row for row in drop_superseded(read_rows(run.journal_path)) if row["event"] == event]


def test_the_journal_has_every_step_and_epoch(finished: Run):
    assert [row["step"] for row in rows(finished, "step")] == list(range(1, 16))
    assert [row["epoch"] for row in rows(finished, "step")] == [1] * 5 + [2] * 5 + [3] * 5
    assert [(row["epoch"], row["step"]) for row in rows(finished, "epoch")] == [(1, 5), (2, 10), (3, 15)]
    assert rows(finished, "end")[0]["reason"] == "finished"
    figures = "L_C L_D L_F d_accuracy alpha_h alpha_h_calibrated d_hdh d_hdh_calibrated grad_C grad_D grad_F"
    assert {
        *figures.split(),
        "fraction_unchanged",
        "d_acc_nat",
        "d_acc_adv",
        "lr_C",
        "lr_D",
        "lr_F",
        "images_per_s",
        "acc_nat",
    } <= rows(finished, "step")[0].keys()


def test_learning_rates_decay_at_milestones(finished: Run):
    """The recipe's milestone is epoch 1: a tenth from the second epoch on."""
    rates = [row["lr_F"] for row in rows(finished, "step")]
    assert rates == pytest.approx([0.5] * 5 + [0.05] * 10)


def test_best_is_the_epoch_with_the_highest_accuracy_under_apgd(finished: Run):
    epochs = rows(finished, "epoch")
    best = max(epochs, key=lambda row: (row["acc_adv"], row["acc_nat"], -row["step"]))
    assert checkpoints.load(finished, "best").step == best["step"]
    assert checkpoints.load(finished, "last").step == 15
    assert [row["checkpoint_step"] for row in rows(finished, "test")] == [15, best["step"]]


def test_the_selection_key_uses_the_probe_if_it_ran():
    flattered, sound = {"acc_nat": 0.9, "acc_adv": 0.8}, {"acc_nat": 0.9, "acc_adv": 0.7}
    assert trainer.selection_key(flattered) > trainer.selection_key(sound)
    assert trainer.selection_key(flattered | {"acc_probe": 0.5}) < trainer.selection_key(sound | {"acc_probe": 0.6})
    assert trainer.selection_key({"epoch": 3}) < trainer.selection_key({"acc_nat": 0.0, "acc_adv": 0.0})


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four epochs, of which every second one is validated: 9 images cost 6 % of the passes of an epoch."""
    more = ("train.checkpoint_selection=probe", "validation.limit=9", "validation.square_queries=60")
    return train(short("digits_wgan", "train.epochs=4", *more), tmp_path_factory.mktemp("probed"))


def test_the_probe_runs_as_often_as_its_share_allows(probed: Run):
    epochs = rows(probed, "epoch")
    (header,) = rows(probed, "run")
    interval = header["validation"]["interval"]
    assert interval == 2
    assert 0.025 < header["validation"]["share"] <= 0.05
    assert [row["epoch"] for row in epochs if "acc_probe" in row] == [2, 4]
    for row in epochs[1::2]:
        assert row["acc_probe"] <= row["acc_adv"] <= row["acc_nat"]
        assert row["n"] == 9


def test_until_the_first_validation_the_newest_epoch_is_the_best(probed: Run):
    first, second, third, fourth = rows(probed, "epoch")
    assert (first["best"], second["best"], third["best"]) == (True, True, False)
    assert fourth["best"] == (trainer.selection_key(fourth) > trainer.selection_key(second))


def measured(run: Run, checkpoint: str) -> list[float]:
    """Measure the test accuracies of saved weights again."""
    recipe = loads(run.recipe_text)
    network = build(**recipe.model.architecture, channels=1, image_size=8, classes=10)
    network.load_state_dict(checkpoints.load(run, checkpoint).network)
    split = Split(load_dataset(recipe.data, None).test, "cpu")
    sample = split.select(Subset.of(len(split), limit=recipe.test.limit).index)
    return evaluate(network, sample, evaluation_parts(recipe, recipe.attack.norm, (8, 8)))


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_test_accuracies_are_those_of_the_saved_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float
):
    monkeypatch.setattr(
        trainer, "selection_key", lambda row: (-row["epoch"],) if row else ()
    )  # the first epoch is the best one
    more = (
        "train.batch_size=64",
        "train.milestones=[]",
        "train.checkpoint_selection=robust",
        "test.limit=300",
        "test.square_queries=3",
    )
    run = train(short("digits_nt", *more, f"train.ema_decay={average}"), tmp_path)
    journaled = {row["checkpoint"]: row for row in rows(run, "test")}
    assert journaled["last"]["checkpoint_step"] == 2 * journaled["best"]["checkpoint_step"]
    accuracies = {name: measured(run, name) for name in journaled}
    assert accuracies["best"] != accuracies["last"]
    for name, row in journaled.items():
        assert [row["acc_nat"], row["acc_adv"], row["acc_square"]] == accuracies[name]


def test_results_h5_holds_the_journal(finished: Run):
    with h5py.File(finished.results_path) as file:
        assert file["train/steps"]["L_D"].tolist() == pytest.approx([row["L_D"] for row in rows(finished, "step")])
        assert file["train/epochs"]["acc_adv"].tolist() == [row["acc_adv"] for row in rows(finished, "epoch")]
        assert file.attrs["complete"]


def test_provenance_has_what_metrics_depend_on(finished: Run):
    provenance = finished.provenance
    assert provenance["seed"] == 0
    assert provenance["torch"] == torch.__version__
    assert provenance["data_digest"] == load_dataset(loads(finished.recipe_text).data, None).digest
    assert {"recipe_digest", "commit", "python", "device", "threads", "command", "afdctl"} <= provenance.keys()


def test_the_cost_of_a_step_is_journaled_before_the_first(finished: Run):
    events = [row["event"] for row in read_rows(finished.journal_path)]
    assert events.index("cost") < events.index("step")
    (cost,) = rows(finished, "cost")
    assert cost["flop"]["attack"] > cost["flop"]["C"] > 0
    assert cost["floor_seconds"] > 0


def test_the_cost_estimate_changes_no_bit(tmp_path: Path, finished: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trainer, "cost_event", lambda *_: {})
    uncounted = train(short("digits_wgan", "train.epochs=3"), tmp_path)
    assert rows(uncounted, "cost")[0].keys() == {"event", "t", "step"}
    for row, counted in zip(rows(uncounted, "step"), rows(finished, "step"), strict=True):
        differing = {name for name in row if row[name] != counted[name]}
        assert differing <= {"t", "images_per_s"}


def test_a_seed_decides_everything(tmp_path: Path, finished: Run):
    recipe = short("digits_wgan", "train.epochs=3")
    again = train(recipe, tmp_path)
    other = train(recipe.model_copy(update={"seed": 1}), tmp_path)
    losses = [[row["L_D"] for row in rows(run, "step")] for run in (finished, again, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize(("warmup", "steps"), [(0, 0), (1, 5), (1.5, 7.5)])
def test_epsilon_grows_during_the_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: float, steps: float):
    """By equal amounts from the first step on; an epoch has 5 steps."""
    epsilons: list[float] = []

    class Recorder(Adversary):
        def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            epsilons.append(self.table.epsilon)
            return x

    monkeypatch.setattr(trainer, "Adversary", Recorder)
    train(short("digits_at", f"attack.epsilon_warmup_epochs={warmup}", "attack.epsilon=0.3"), tmp_path)
    assert epsilons == pytest.approx([0.3 * step / steps if step < steps else 0.3 for step in range(1, 11)])


def test_results_are_rebuilt_for_at_most_a_hundredth_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A build takes 1 second and an epoch 60 on a fake clock: at the start, after more than 100 s, at the end."""
    clock = SimpleNamespace(now=0)
    built: list[int] = []

    def build_results(run: Run) -> None:
        built.append(clock.now)
        clock.now += 1

    def on_line(line: str) -> None:
        clock.now += 60 * ('"event":"epoch"' in line)

    monkeypatch.setattr(trainer.results_file, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(trainer.results_file, "build", build_results)
    train(short("digits_nt", "train.epochs=4"), tmp_path, on_line)
    assert built == [0, 121, 242, 243]


def test_nan_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path):
    recipe = short(
        "digits_at", "attack.epsilon_warmup_epochs=0", "defense.lr_C=1e30", "model.norm=none", "train.report_every=1"
    )
    with pytest.raises(DivergedError, match=r"(L_C|grad_C) is not finite at step \d; .*lower the lea") as error:
        train(recipe, tmp_path)
    assert error.value.exit_code == 6
    run = Run.find("latest", tmp_path)
    last = checkpoints.load(run)
    assert last.step == 0
    assert all(v.isfinite().all() for v in last.state["defense"]["network"].values() if isinstance(v, torch.Tensor))
    assert rows(run, "end")[0]["reason"] == "diverged"
    assert None in rows(run, "step")[-1].values()
    with h5py.File(run.results_path) as file:
        assert not file.attrs["complete"]


def test_without_hold_out_the_last_epoch_is_the_best(tmp_path: Path):
    run = train(short("digits_dcgan", "fidelity=official"), tmp_path)
    assert "acc_adv" not in rows(run, "epoch")[0]
    assert [row["checkpoint_step"] for row in rows(run, "test")] == [rows(run, "end")[0]["step"]] * 2
