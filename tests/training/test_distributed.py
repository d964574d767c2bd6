"""Test that several processes train the network that one process trains, and that one of them writes the run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from afdctl import allreduce
from afdctl.cli.training_process import _interrupted_run
from afdctl.data.base import ImageTensors
from afdctl.data.loader import Sampler
from afdctl.errors import RecipeError
from afdctl.journal import read_rows
from afdctl.runs.provenance import command_line
from afdctl.runs.run import Run
from afdctl.training.distributed import Processes, check_batch, launch, uses_gpus
from afdctl.training.rng import TrainingRNG
from tests.cli.trainings import options, wait_for
from tests.conftest import SHORT, short
from tests.training.processes import (
    VARIANTS,
    begin,
    children,
    end,
    run_processes,
    save_shared,
    start,
    train_variants,
    weights_of,
)
from tests.training.test_resume import assert_same_state

TRAIN = ["digits_wgan", *options([*SHORT, "train.batch_size=64", "train.report_every=1"])]


def assert_equal_on_all(weights: list[dict[str, Tensor]]) -> None:
    for other in weights[1:]:
        for name, value in weights[0].items():
            assert torch.equal(value, other[name]), name


def assert_as_alone(folder: Path, variant: str, size: int) -> None:
    (alone,), weights = weights_of(folder, variant, 1), weights_of(folder, variant, size)
    assert_equal_on_all(weights)
    assert alone.keys() == weights[0].keys()
    for name, value in alone.items():
        torch.testing.assert_close(weights[0][name], value, rtol=0, atol=1e-8, msg=f"{variant} {size} {name}")


def test_three_processes_train_the_weights_of_one(tmp_path: Path):
    variants = ["afd", "few images"]
    # one step into the second epoch
    train_variants(tmp_path, variants, (1, 3), 3)
    for variant in variants:
        assert_as_alone(tmp_path, variant, 3)


def test_own_tensors_are_the_first_one_s_and_frozen_statistics_stay(tmp_path: Path):
    run_processes([(save_shared, (tmp_path, 3))])
    for rank in range(3):
        own, statistics = torch.load(tmp_path / f"{rank}.pt")
        assert own.tolist() == [0.0, 0.0]
        # a third of 0.1, three times, is another float
        assert statistics.tolist() == torch.full((2,), 0.1).tolist()


@pytest.mark.slow
def test_every_defense_trains_the_same_weights_on_one_two_and_three_processes(tmp_path: Path):
    train_variants(tmp_path, VARIANTS, (1, 2, 3), 50)
    for variant, size in product(VARIANTS, (2, 3)):
        assert_as_alone(tmp_path, variant, size)


@pytest.mark.slow
def test_without_synchronised_batch_norm_all_processes_still_have_one_network(tmp_path: Path):
    train_variants(tmp_path, ["afd"], (1, 2), 5, "train.sync_batch_norm=false")
    assert_equal_on_all(weights_of(tmp_path, "afd", 2))
    with pytest.raises(AssertionError):
        assert_as_alone(tmp_path, "afd", 2)


def parts(processes: int, images: int, batch: int, extra: bool = False) -> list[list[tuple[list[int], float]]]:
    """The labels, which number the images, and the share of each process in each batch of an epoch."""
    shown = ImageTensors(torch.zeros(images, 1, 2, 2, dtype=torch.uint8), torch.arange(images))
    more = ImageTensors(torch.zeros(50, 1, 2, 2, dtype=torch.uint8), 1000 + torch.arange(50))
    samplers = [
        Sampler(
            shown,
            rows=torch.arange(images),
            device="cpu",
            batch_size=batch,
            augment=lambda x, y: (x, y),
            shuffle_generator=torch.Generator().manual_seed(3),
            extra=more if extra else None,
            extra_share=0.4 if extra else 0.0,
            rank=rank,
            processes=processes,
        )
        for rank in range(processes)
    ]
    steps = samplers[0].steps_per_epoch
    return [[(sampler.next()[1].tolist(), sampler.part) for sampler in samplers] for _ in range(steps)]


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("images", [60, 29, 28, 27])
def test_the_parts_of_a_batch_are_that_batch(processes: int, images: int, extra: bool):
    whole = parts(1, images, 12, extra)
    assert len(whole) == len(parts(processes, images, 12, extra))
    for (one,), shared in zip(whole, parts(processes, images, 12, extra), strict=True):
        labels, _ = one
        assert sum(share for _, share in shared) == pytest.approx(1)
        if len(labels) < 2 * processes:
            assert all(sorted(part) == sorted(labels) for part, _ in shared)
            continue
        assert sorted(label for part, _ in shared for label in part) == sorted(labels)
        for part, share in shared:
            assert share == pytest.approx(len(part) / len(labels))
        assert max(len(part) for part, _ in shared) - min(len(part) for part, _ in shared) <= 1


def test_processes_share_the_order_and_have_other_streams_of_their_own():
    first, second = TrainingRNG(0, torch.device("cpu")), TrainingRNG(0, torch.device("cpu"), rank=1)
    for name, generator in first.generators.items():
        same = torch.equal(generator.get_state(), second.generators[name].get_state())
        assert same == (name == "shuffle")


def test_a_further_process_gets_new_streams_and_the_same_order():
    states = [TrainingRNG(0, torch.device("cpu"), rank=rank).state_dict() for rank in range(2)]
    streams = [TrainingRNG(0, torch.device("cpu"), rank=rank) for rank in range(4)]
    for rank, rng in enumerate(streams):
        rng.continue_streams(states, rank=rank, seed=0, step=9)
    attacks = {rng.attack.get_state().numpy().tobytes() for rng in streams}
    orders = {rng.shuffle.get_state().numpy().tobytes() for rng in streams}
    assert (len(attacks), len(orders)) == (4, 1)


def test_a_process_group_of_the_calling_program_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    assert allreduce.process_count() == 1


def test_a_restart_finds_the_run_of_its_own_launch_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one-id-for-all")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(sys, "argv", ["afdctl", "train", "a"])
    first, second = Processes(launchers=("host 1", "host 2")), Processes(launchers=("host 3", "host 4"))
    run = Run.create(tmp_path, "a", None, {"command": command_line(), **launch(first)})
    assert _interrupted_run(tmp_path, first) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert _interrupted_run(tmp_path, first) == run
    # a node was replaced
    assert _interrupted_run(tmp_path, Processes(launchers=("host 2", "host 5"))) == run
    # a later launch with the same id, which failed before it had a run
    assert _interrupted_run(tmp_path, second) is None
    # Slurm keeps the id of a job that it starts again; another job that was started again may have the same --rdzv-id
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert _interrupted_run(tmp_path, second) == run
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert _interrupted_run(tmp_path, second) is None
    # a run that no job has begun
    monkeypatch.delenv("SLURM_JOB_ID")
    other = Run.create(tmp_path, "b", None, {"command": command_line(), **launch(second)})
    assert _interrupted_run(tmp_path, Processes(launchers=("host 6",))) is None
    shutil.rmtree(other.path)
    monkeypatch.setattr(sys, "argv", ["afdctl", "train", "b"])
    assert _interrupted_run(tmp_path, first) is None


def test_a_batch_that_cannot_be_divided_is_refused():
    check_batch(short("digits_nt"), 2)
    with pytest.raises(RecipeError, match=r"train.batch_size = 256: .* 3 processes .* --set train.batch_size=255$"):
        check_batch(short("digits_nt"), 3)
    # a larger batch would be another training
    with pytest.raises(RecipeError, match=r"use another number of processes$"):
        check_batch(short("digits_nt", "train.batch_size=4"), 4)
    # a resumed run keeps its recipe
    with pytest.raises(RecipeError, match=r"use another number of processes$"):
        check_batch(short("digits_nt"), 3, resumes=True)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch):
    assert not uses_gpus("cpu", 5)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert uses_gpus("auto", 2)
    with pytest.raises(RecipeError, match="3 processes: this machine has 2 GPUs; start fewer, or add --device cpu"):
        uses_gpus(None, 3)
    with pytest.raises(RecipeError, match="--device cuda:1: several processes take a GPU each"):
        uses_gpus("cuda:1", 2)


@pytest.mark.slow
def test_a_resume_is_bit_identical_and_may_change_the_number_of_processes(tmp_path: Path):
    """A run of two processes, stopped by SIGTERM in one of them, has the weights of one that was not stopped."""
    whole, halved = ("--runs", str(tmp_path), "--name", "whole"), ("--runs", str(tmp_path), "--name", "halved")
    ends = end(begin(2, *TRAIN, *whole))
    assert [code for code, *_ in ends] == [0, 0], ends
    assert [bool(out) for _, out, _ in ends] == [True, False]
    run = Run(tmp_path / "halved")
    processes = begin(2, *TRAIN, *halved)
    wait_for(lambda: run.journal_path.exists() and b'"step":9,' in run.journal_path.read_bytes(), seconds=300)
    processes[1].send_signal(signal.SIGTERM)
    ends = end(processes)
    assert [code for code, *_ in ends] == [143, 143], ends
    assert "stopped by SIGTERM; resume with" in ends[0][2]
    assert ends[1][1:] == ("", "")
    other = Run(tmp_path / "other")
    subprocess.run(["cp", "-r", str(run.path), str(other.path)], check=True)
    ends = end(begin(2, "--resume", str(run.path)))
    assert [code for code, *_ in ends] == [0, 0], ends
    assert_same_state(Run(tmp_path / "whole"), run)
    ends = end(begin(3, "--resume", str(other.path), "--device", "cpu"))
    assert "train.batch_size = 64: cannot be divided among 3 processes" in ends[0][2]
    assert [code for code, *_ in ends] == [2, 2, 2]
    ends = end(begin(3, *TRAIN, "--runs", str(tmp_path / "new"), "--device", "cpu"))
    assert [code for code, *_ in ends] == [2, 2, 2]
    assert not (tmp_path / "new").exists()
    (ended,) = end(begin(1, "--resume", str(other.path)))
    assert ended[0] == 0
    assert "2 processes before, 1 now: the training continues, but not to the bit" in other.journal_path.read_text()


@pytest.mark.slow
def test_a_second_launch_is_refused_and_a_killed_process_ends_the_others(tmp_path: Path):
    options = ("--runs", str(tmp_path), "--name", "x", "--set", "train.epochs=200", "--nproc", "2", "--device", "cpu")
    launcher = start("-m", "afdctl", "train", *TRAIN, *options)
    run = Run(tmp_path / "x")
    wait_for(lambda: run.exists, seconds=300)
    ends = end(begin(2, "--resume", str(run.path)))
    assert [code for code, *_ in ends] == [4, 4]
    assert "run x is being written by pid" in ends[0][2]
    assert ends[1][2] == ""
    os.kill(children(launcher)[1], signal.SIGKILL)
    ((code, out, err),) = end([launcher])
    assert (code, out) == (1, "")
    assert err.count("error: ") == 1
    resume = f"`afdctl train --resume {run.path}`"
    assert f"error: process 1 was ended by SIGKILL, and the training with it; resume with {resume}" in err
    assert "Traceback" not in err
    rows = [json.loads(line) for line in run.journal_path.read_text().splitlines()]
    assert (rows[-1]["event"], rows[-1]["reason"]) == ("end", "failed")


@pytest.mark.slow
def test_torchrun_restarts_a_killed_process_and_the_run_resumes(tmp_path: Path):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "-m", "afdctl", "train")
    launcher = start(*torchrun, *TRAIN, "--set", "train.epochs=8", "--runs", str(tmp_path))
    run = Run(tmp_path / "digits_wgan-001")
    wait_for(lambda: run.journal_path.exists() and b'"step":25,' in run.journal_path.read_bytes(), seconds=300)
    os.kill(children(launcher)[1], signal.SIGKILL)
    ((code, out, err),) = end([launcher])
    assert code == 0, err
    assert out == f"{run.path}\n"
    assert run.finished
    rows = [row["event"] for row in read_rows(run.journal_path)]
    assert rows.count("resume") == 1
