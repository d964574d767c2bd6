"""Test what a training that fails or is stopped leaves on disk."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from afdctl import recipe
from afdctl.errors import (
    AfdctlError,
    CorruptError,
    DiskFullError,
    DivergedError,
    NotFoundError,
    RecipeError,
    StoppedError,
)
from afdctl.interrupts import raise_on_signal
from afdctl.journal import read_rows
from afdctl.runs import checkpoints, results_file
from afdctl.runs.run import Run
from afdctl.training.schedule import recipe_warnings
from afdctl.training.setup import resume
from tests.conftest import short, train
from tests.runs.test_record import cut_behind
from tests.training.test_resume import quiet, stop_after


def ends(run: Run) -> list[tuple[str, int]]:
    return [(row["reason"], row["exit_code"]) for row in read_rows(run.journal_path) if row["event"] == "end"]


def close_pipe_at(step: int) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        if f'"step":{step},' in line:
            raise StoppedError("broken pipe", signal.SIGPIPE)

    return on_line


def test_diverged_weights_are_not_saved_when_the_pipe_breaks(tmp_path: Path):
    recipe = short(
        "digits_at", "attack.epsilon_warmup_epochs=0", "defense.lr_C=1e30", "model.norm=none", "train.report_every=4"
    )
    with pytest.raises(DivergedError):
        train(recipe, tmp_path, close_pipe_at(1))
    run = Run.find("latest", tmp_path)
    assert checkpoints.load(run).step == 0
    assert ends(run) == [("diverged", 6)]


def test_a_full_disk_while_saving_on_a_stop_is_journaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save = checkpoints.save

    def full_after_the_start(run: Run, state: object, *, step: int, **rest: object) -> object:
        if step:
            raise DiskFullError("no space left")
        return save(run, state, step=step, **rest)

    monkeypatch.setattr(checkpoints, "save", full_after_the_start)
    with pytest.raises(DiskFullError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(2))
    assert ends(Run.find("latest", tmp_path)) == [("failed", 5)]


def test_a_keyboard_interrupt_is_journaled(tmp_path: Path):
    def on_line(line: str) -> None:
        if '"step":3,' in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(short("digits_nt", "train.report_every=1"), tmp_path, on_line)
    assert ends(Run.find("latest", tmp_path)) == [("failed", 130)]


def test_a_finished_run_ends_once_even_if_the_disk_is_full_for_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build = results_file.build

    def full_at_the_end(run: Run) -> Path:
        if run.finished:
            raise DiskFullError("no space left")
        return build(run)

    monkeypatch.setattr(results_file, "build", full_at_the_end)
    with pytest.raises(DiskFullError):
        train(short("digits_nt"), tmp_path)
    assert ends(Run.find("latest", tmp_path)) == [("finished", 0)]


def test_a_recipe_that_does_not_fit_the_data_leaves_no_run(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"data.holdout = 1437: only 1437 training images"):
        train(short("digits_nt", "data.holdout=1437"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_kind_of_device_is_refused(tmp_path: Path):
    with pytest.raises(StoppedError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(2))
    run = Run.find("latest", tmp_path)
    run.complete(run.provenance | {"device": "cuda:0"})
    with pytest.raises(RecipeError, match="the run started on cuda:0, whose random numbers cannot be continued on cpu"):
        resume(run, device="cpu", data_dir=None, on_line=quiet)


@pytest.mark.parametrize("lost", ["content", "pointer"])
def test_the_test_survives_a_damaged_or_missing_best_checkpoint(tmp_path: Path, lost: str):
    recipe = short("digits_wgan", "train.epochs=4", "train.milestones=[]")

    def damage(line: str) -> None:
        if json.loads(line)["event"] == "test":
            folder = tmp_path / "run-001/checkpoints"
            if lost == "content":
                (folder / (folder / "best").read_text().strip()).write_bytes(b"")
            else:
                (folder / "best").unlink(missing_ok=True)

    run = train(recipe, tmp_path, damage)
    rows = list(read_rows(run.journal_path))
    assert [(row["checkpoint"], row["checkpoint_step"]) for row in rows if row["event"] == "test"] == [
        ("last", 20),
        ("best", 20),
    ]
    assert "reported as the best" in next(row["message"] for row in rows if row["event"] == "warning")
    assert ends(run) == [("finished", 0)]


def test_a_resumed_run_uses_the_original_thread_count(tmp_path: Path):
    before = torch.get_num_threads()
    with pytest.raises(StoppedError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(2))
    torch.set_num_threads(before + 1)
    try:
        resume(Run.find("latest", tmp_path), device=None, data_dir=None, on_line=quiet)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_a_full_disk_at_the_first_checkpoint_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise DiskFullError("no space left")

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.raises(DiskFullError):
        train(short("digits_nt"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_an_edited_recipe_is_not_resumed(tmp_path: Path):
    with pytest.raises(StoppedError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(2))
    run = Run.find("latest", tmp_path)
    run.recipe_path.write_text(run.recipe_text.replace("lr_C = 0.1", "lr_C = 0.2"))
    with pytest.raises(CorruptError, match=r"recipe.toml: changed since the run began"):
        resume(run, device=None, data_dir=None, on_line=quiet)


def test_a_run_whose_checkpoints_vanish_keeps_its_journal_and_its_results(tmp_path: Path):
    def on_line(line: str) -> None:
        if '"event":"epoch"' in line:
            shutil.rmtree(tmp_path / "run-001/checkpoints")

    with pytest.raises(FileNotFoundError) as error:
        train(short("digits_nt"), tmp_path, on_line)
    assert "run-001/checkpoints/step-00000005-" in str(error.value.filename)
    run = Run.find("latest", tmp_path)
    assert ends(run) == [("failed", 1)]
    assert run.results_path.exists()
    with pytest.raises(NotFoundError, match="has no checkpoint"):
        resume(run, device=None, data_dir=None, on_line=quiet)


def test_lost_rows_are_reported_and_not_invented(tmp_path: Path):
    with pytest.raises(StoppedError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(7))
    run = Run.find("latest", tmp_path)
    cut_behind(run, '"step":3,')
    resume(run, device=None, data_dir=None, on_line=quiet)
    rows = list(read_rows(run.journal_path))
    assert [row["step"] for row in rows if row["event"] == "step"] == [1, 2, 3, 8, 9, 10]
    messages = [row["message"] for row in rows if row["event"] == "warning"]
    assert "it ends at step 3, the checkpoint is of step 7" in messages[0]
    (kept,) = run.path.glob("results-*.h5")
    assert messages[1] == f"{kept}: has rows that events.ndjson has lost; look at it, then delete it"


@pytest.mark.parametrize("which", ["defense", "sampler", "rng"])
def test_a_state_that_does_not_fit_is_named(tmp_path: Path, which: str):
    with pytest.raises(StoppedError):
        train(short("digits_nt", "train.report_every=1"), tmp_path, stop_after(2))
    run = Run.find("latest", tmp_path)
    state = checkpoints.load(run).state
    saved = checkpoints.save(run, state | {which: {"network": {}}}, step=3, epoch=0, best=False)
    with pytest.raises(CorruptError, match=f"{saved.path.name}: does not fit the run's recipe"):
        resume(run, device=None, data_dir=None, on_line=quiet)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_out_of_memory_is_one_line_and_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("afdctl.training.trainer.build", fail)
    with pytest.raises(AfdctlError, match=r"out of memory; lower train\.batch_size or model\.width"):
        train(short("digits_nt"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_torch_compile_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a machine without a C++ compiler."""

    def refuse(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin any folder")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **_: compiler(call, dynamic=False, backend=refuse))
    with pytest.raises(AfdctlError) as raised:
        train(short("digits_at", "attack.epsilon_warmup_epochs=0", "train.compile=max-autotune"), tmp_path)
    message = str(raised.value)
    assert message.startswith("torch.compile failed: ")
    assert message.endswith("; set train.compile = false")
    assert "No working C++ compiler found" in message
    assert "\n" not in message


def test_a_signal_before_the_first_checkpoint_leaves_nothing(tmp_path: Path):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before_the_start = pytest.raises(StoppedError, match="before the training started")
        with raise_on_signal(), before_the_start, Run.begin(tmp_path, "run"):
            os.kill(os.getpid(), number)
            # the kernel may give the signal to another thread, and Python handles it a moment later in this one
            time.sleep(10)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_the_first_step_leaves_a_run_that_resumes(tmp_path: Path):
    def on_line(line: str) -> None:
        if '"event":"run"' in line:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="SIGTERM; resume with"):
        train(short("digits_nt"), tmp_path, on_line)
    assert resume(Run.find("latest", tmp_path), device=None, data_dir=None, on_line=quiet).finished


def test_settings_without_effect_are_warned_about(tmp_path: Path):
    run = train(short("digits_nt", "train.milestones=[1,2,9]"), tmp_path)
    warnings = [row["message"] for row in read_rows(run.journal_path) if row["event"] == "warning"]
    assert warnings == [
        "train.milestones [2, 9] are after the last epoch; the learning rate does not decay there",
    ]


def test_a_single_training_image_is_not_a_training(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"only 1 image to train on; lower data\.holdout"):
        train(short("digits_nt", "data.holdout=1436"), tmp_path)


def test_square_that_cannot_run_is_warned_about():
    searching = short("digits_nt", "attack.norm=l2", "test.square_queries=500")
    assert list(recipe_warnings(searching, 8)) == []
    assert list(recipe_warnings(searching, 12)) == [
        "Square does not run: in l2 it cannot start on images of 12 x 12 pixels"
    ]
    probing = short("digits_at", "attack.norm=l2", "train.checkpoint_selection=probe", "attack.epsilon_warmup_epochs=0")
    assert len(list(recipe_warnings(probing, 12))) == 1


def test_keys_without_effect_are_warned_about():
    unused = short("digits_nt", "data.crop_padding=2", "validation.square_queries=5", "validation.targets=3")
    assert list(recipe_warnings(unused, 8)) == [
        'data.crop_padding has no effect; it needs data.augment = "crop" or "crop_flip"',
        'validation.square_queries has no effect; it needs train.checkpoint_selection = "probe"',
    ]
    probing = ("train.checkpoint_selection=probe", "validation.square_queries=5")
    assert not list(recipe_warnings(short("digits_nt", *probing, "data.augment=crop", "data.crop_padding=2"), 8))


def test_a_discriminator_that_is_not_trained_is_warned_about():
    (warning,) = recipe_warnings(short("digits_dcgan", "defense.lr_D=0", "attack.epsilon_warmup_epochs=0"), 8)
    assert warning.startswith("defense.lr_D = 0: D_psi is not trained, its accuracy")
    # no game at all
    assert not list(recipe_warnings(short("digits_dcgan", "defense.lr_F=0", "attack.epsilon_warmup_epochs=0"), 8))


def test_warm_ups_longer_than_the_training_are_warned_about():
    long = short("digits_at", "attack.n_fgsm_epochs=3", "attack.steps_warmup_epochs=4", "train.milestones=[]")
    assert list(recipe_warnings(long, 8)) == [
        "attack.epsilon_warmup_epochs = 5 is shortened to 2, so that it ends with the training",
        "attack.n_fgsm_epochs = 3 is shortened to 1, so that it ends with the training",
        "attack.steps_warmup_epochs = 4 is shortened to 0, so that it ends with the training",
    ]


WEAK = "reach 1.00 epsilon, and crossing the ball takes 2 epsilon; its accuracies are too high"


def test_an_attack_that_cannot_cross_its_ball_is_warned_about_at_the_start_and_beside_its_result(tmp_path: Path):
    run = train(short("digits_nt", "test.steps=4", "test.step_size=0.025"), tmp_path)
    rows = [row for row in read_rows(run.journal_path) if row["event"] in ("warning", "step", "test")]
    message = f"test: PGD-4 at 0.1: its 4 steps {WEAK} (test.steps, test.step_size)"
    assert [row["message"] for row in (rows[0], rows[-1])] == [message, message]
    assert [row["event"] for row in rows[-3:-1]] == ["test", "test"]


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (
            ["attack.steps=4"],
            "training adversary pgd at 0.1: its 4 steps reach 1.60 epsilon, and crossing the ball takes 2 epsilon",
        ),
        (["attack.steps=5"], None),
        (["attack.steps=4", "attack.random_start=false"], None),
        (
            ["attack.steps=1", "attack.random_start=false"],
            "its step reaches 0.40 epsilon, and crossing the ball takes 1 epsilon",
        ),
        # FGSM-RS: by design, its one step only reaches the border from anywhere in the ball
        (["attack.steps=1", "attack.step_size=0.125"], None),
        (["attack.steps=1"], "its step reaches 0.40 epsilon, and crossing the ball takes 1 epsilon"),
        (["attack.name=pgd_kl", "attack.steps=3"], None),
        (["test.square_queries=499"], "test.square_queries = 499 is too few to detect masked gradients"),
        (["test.square_queries=500"], None),
    ],
)
def test_what_weakens_an_attack_is_warned_about(overrides: list[str], warning: str | None):
    names = {override.partition("=")[0] for override in overrides}
    base = ["attack.epsilon_warmup_epochs=0", "attack.name=pgd", "attack.step_size=0.04", "attack.steps=5"]
    kept = [override for override in base if override.partition("=")[0] not in names]
    found = list(recipe_warnings(short("digits_at", *kept, *overrides), 8))
    assert len(found) == (warning is not None)
    assert warning is None or warning in found[0]


def test_no_packaged_recipe_trains_in_a_smaller_ball():
    """Of FGSM-RS and N-FGSM the one step is the method."""
    for name in recipe.packaged():
        warnings = recipe_warnings(recipe.load(name), 32)
        assert [warning for warning in warnings if warning.startswith("training adversary")] == [], name
