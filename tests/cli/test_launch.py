"""Test what `afdctl train` refuses with several processes, and how it reports the end of one of them."""

from pathlib import Path

import pytest
import typer

from afdctl.cli import launch
from afdctl.errors import AfdctlError
from afdctl.runs.run import Run
from afdctl.training.distributed import LOST_CODE
from tests.cli.conftest import Afdctl


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nproc", "0"], "--nproc: must be at least 1"),
        (["--nproc", "2", "--tui"], "--tui: not with --nproc; leave it out, and `afdctl watch latest` shows the"),
        (
            ["--nproc", "2", "--runs", "a b", "--tui"],
            "--tui: not with --nproc; leave it out, and `afdctl watch latest --runs 'a b'` ",
        ),
        (["--nproc", "2", "--detach"], "--detach: not with --nproc"),
        (["--nproc", "2", "--seeds", "0,1"], "--seeds: not with --nproc, which trains one run; use --set seed=N"),
        (["--nproc", "3", "--device", "cpu"], "train.batch_size = 128: cannot be divided among 3 processes in parts"),
        (["--nproc", "2", "--device", "cuda:0"], "--device cuda:0: several processes take a GPU each"),
        (["--nproc", "2", "--set", "train.epochs=x"], '--set train.epochs = "x": must be a whole number'),
    ],
)
def test_a_mistake_is_one_line(here: Afdctl, options: list[str], message: str):
    code, out, err = here("digits_nt", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_process_alone_prints_a_mistake_of_all(here: Afdctl, monkeypatch: pytest.MonkeyPatch, rank: str):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", rank)
    for arguments in (["digits_nt", "--nproc", "2"], ["nothing"], ["--resume", "nothing"]):
        code, _, err = here(*arguments)
        assert code in (2, 3)
        assert err.count("error: ") == (rank == "0")


def test_the_processes_get_the_same_command_without_nproc():
    given = ["train", "x", "--nproc", "2", "--set", "a=1", "--nproc=3"]
    assert launch.without_nproc(given) == ["train", "x", "--set", "a=1"]


def test_the_command_ends_as_the_process_that_failed_first():
    with pytest.raises(typer.Exit) as ended:
        # the others miss it, or were ended by the launcher
        launch.report({0: LOST_CODE, 1: 6, 2: -15}, None)
    assert ended.value.exit_code == 6
    end = "process 2 was ended by SIGKILL, and the training with it; "
    for path, remedy in ((Path("a/x"), "resume with `afdctl train --resume a/x`"), (None, "it had not begun; repeat")):
        with pytest.raises(AfdctlError, match=end + remedy):
            launch.report({0: LOST_CODE, 1: -15, 2: -9}, path)
    with pytest.raises(AfdctlError, match="another process of this training has ended"):
        launch.report({0: LOST_CODE, 1: -15}, None)


def test_a_launch_knows_its_run_among_newer_ones(tmp_path: Path):
    for name, facts in (
        ("a", {"launch": {"id": "1"}}),
        ("b", {"launch": {"id": "2"}}),
        ("c", {}),
        ("d", {"launch": 1}),
    ):
        run = Run.create(tmp_path, name, "seed = 0\n", facts)
    (run.path / "run.json").write_text("{")
    assert launch.begun_run(tmp_path, "1") == tmp_path / "a-001"
    assert launch.begun_run(tmp_path, "3") is None
