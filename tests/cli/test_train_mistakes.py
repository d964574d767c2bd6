"""Test mistakes in `afdctl train`: one line that says what, where and what to do, and the exit code."""

import shlex
from pathlib import Path

import pytest

from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl

NO_RESUME = "--resume uses the run's own recipe; leave RECIPE, --set, --seeds and --name out"
SEEDS = "must be whole numbers with commas between, such as 0,1,2"
DEVICES = "must be auto, cpu, cuda, cuda:N or mps"
START = "start one with `afdctl train`, or name another folder with --runs"
MISTAKES = [
    ("", 2, "name a recipe, such as recipes/digits_wgan.toml, or a run with --resume"),
    ("nosuch", 2, "nosuch: no such recipe (`afdctl recipes ls` lists the packaged ones)"),
    ("digits_nt --set epochs", 2, "--set epochs: write --set key.sub=value"),
    ("digits_nt --set train.epoch=3", 2, "--set train.epoch: no such key (did you mean 'epochs'?)"),
    ("digits_nt --seeds ''", 2, f"--seeds '': {SEEDS}"),
    ("digits_nt --seeds 0,-1", 2, f"--seeds '0,-1': {SEEDS}"),
    ("digits_nt --seeds 0,", 2, f"--seeds '0,': {SEEDS}"),
    ("digits_nt --seeds 0,1 --name x", 2, "--name names one run, --seeds makes several; leave --name out"),
    ("digits_nt --device gpu", 2, f"--device 'gpu': {DEVICES}"),
    ("digits_nt --device cpu:x", 2, f"--device 'cpu:x': {DEVICES}"),
    ("digits_nt --device cuda", 2, "--device cuda: not on this machine; it has: cpu"),
    ("--resume x digits_nt", 2, NO_RESUME),
    ("--resume x --set seed=1", 2, NO_RESUME),
    ("--resume x --seeds 1", 2, NO_RESUME),
    ("--resume x --name y", 2, NO_RESUME),
    ("--resume nosuch", 3, "nosuch: no such run under runs; name another folder with --runs"),
    ("--resume runs", 3, "runs: not a run (it has no run.json); name a run's folder"),
    ("--resume latest --runs empty", 3, "empty: no run here; " + START),
    ("digits_nt --seeds 0,00", 2, "--seeds '0,00': names a seed twice, which would train the same run twice"),
    ("digits_nt --seeds 1_0", 2, f"--seeds '1_0': {SEEDS}"),
    (f"digits_nt --seeds {'9' * 5000}", 2, f"--seeds '{'9' * 80}... (5,000 characters)': {SEEDS}"),
    ("digits_nt --name runs/x", 2, "--name 'runs/x': has '/' in it; use letters, digits, '-' and '_'"),
    ("digits_nt --name 'a b'", 2, "--name 'a b': has ' ' in it; use letters, digits, '-' and '_'"),
    (
        f"digits_nt --name {'x' * 300}",
        2,
        f"--name '{'x' * 80}... (300 characters)': has more than 100 bytes; use letters, digits, '-' and '_'",
    ),
    (
        f"digits_nt --runs {'x' * 300}",
        2,
        f"'{'x' * 80}... (300 characters)': a name in this path has 300 bytes; the limit is 255",
    ),
    (
        "digits_nt --name taken",
        2,
        "runs/taken: exists; choose another --name, or resume that run with `afdctl train --resume runs/taken`",
    ),
    ("digits_nt --runs file", 2, "file: no run can be made here (file exists); choose another folder with --runs"),
]


@pytest.mark.parametrize(
    ("words", "code", "message"), MISTAKES, ids=[words[:80] or "nothing" for words, *_ in MISTAKES]
)
def test_a_mistake_is_one_line_and_an_exit_code(
    folder: Path, here: Afdctl, monkeypatch: pytest.MonkeyPatch, words: str, code: int, message: str
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    (folder / "file").touch()
    (folder / "runs/taken").mkdir(parents=True, exist_ok=True)
    (folder / "runs/taken/results.h5").touch()
    assert here(*shlex.split(words)) == (code, "", f"error: {message}\n")


def test_an_image_folder_that_is_not_there(here: Afdctl, tmp_path: Path):
    ended = here("folder_wgan", "--data-dir", str(tmp_path / "nosuch"), "--runs", str(tmp_path / "made" / "runs"))
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"error: {tmp_path}/nosuch: not an image folder with train/<class>/")
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_data_that_is_not_there(here: Afdctl, tmp_path: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ended = here("mnist_nt", "--data-dir", str(tmp_path / "nosuch"))
    assert (ended.code, ended.out) == (3, "")
    assert "error: mnist is not on this machine" in ended.err
    assert str(tmp_path / "nosuch") in ended.err


def test_an_error_of_the_system_is_one_line(here: Afdctl, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "runs/x/events.ndjson.lock")

    monkeypatch.setattr(Run, "find", refuse)
    assert here("--resume", "x") == (1, "", "error: runs/x/events.ndjson.lock: Permission denied\n")
