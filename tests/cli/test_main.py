"""Test that each error of a command is one line with the right exit code."""

import errno
import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import torch
import typer

from afdctl import cli
from afdctl.errors import DiskFullError
from afdctl.runs import files
from tests.cli.conftest import Afdctl
from tests.cli.trainings import ENVIRONMENT

FULL = DiskFullError.remedy


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("afdctl.suites.load.packaged", fail)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.EIO, 1, "a/b: Input/output error"),
        (errno.EROFS, 1, "a/b: Read-only file system"),
        (errno.ESTALE, 1, "a/b: Stale file handle"),
        (errno.ENAMETOOLONG, 1, "a/b: File name too long"),
        (errno.ENOSPC, 5, f"a/b: No space left on device; {FULL}"),
        (errno.EDQUOT, 5, f"a/b: Disk quota exceeded; {FULL}"),
    ],
)
def test_an_error_of_the_system_names_the_file(
    afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch, number: int, code: int, words: str
):
    failing(monkeypatch, OSError(number, os.strerror(number), "a/b"))
    assert afdctl("suites", "ls") == (code, "", f"error: {words}\n")


def test_a_full_memory_is_one_line(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    ended = afdctl("suites", "ls")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("error: the memory is full: lower --batch-size")


def test_a_failure_of_torch_compile_is_one_line(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, torch._dynamo.exc.InternalTorchDynamoError("no compiler\n\nSet TORCHDYNAMO_VERBOSE=1"))
    ended = afdctl("suites", "ls")
    assert ended == (1, "", "error: torch.compile failed: no compiler; set train.compile = false\n")


def test_a_bug_is_still_a_traceback(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        afdctl("suites", "ls")


def test_an_error_that_cannot_be_printed_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(typer, "echo", fail)
    monkeypatch.setattr(cli, "discard_output", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli._fail("a: b", 5)
    assert ended.value.code == 5


def test_what_a_stream_cannot_write_is_replaced(monkeypatch: pytest.MonkeyPatch):
    buffer = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(buffer, "latin-1"))
    monkeypatch.setattr(cli, "app", lambda: typer.echo("d_HΔH"))
    cli.main()
    sys.stdout.flush()
    assert buffer.getvalue() == b"d_H?H\n"


@pytest.mark.parametrize("words", [["suites", "cp", "strong", "x.toml"], ["recipes", "cp", "digits_nt", "x.toml"]])
def test_a_copy_that_does_not_fit_is_not_there(
    afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    ended = afdctl(*words)
    assert (ended.code, ended.out, ended.err) == (5, "", f"error: x.toml: No space left on device; {FULL}\n")
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_a_training_that_does_not_fit_in_memory_is_one_line(tmp_path: Path):
    command = f"ulimit -v 6000000; {sys.executable} -m afdctl train digits_nt --set model.width=2048 --no-tui"
    ended = subprocess.run(command, shell=True, cwd=tmp_path, env=ENVIRONMENT, text=True, capture_output=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == ("error: out of memory; lower train.batch_size or model.width")
    assert not list(tmp_path.glob("runs/*"))
