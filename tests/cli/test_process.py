"""Test the process of a command: when the dashboard opens automatically, and the memory that malloc keeps."""

import io
import os
import platform
import subprocess
import sys

import pytest

from afdctl.cli import process, train
from afdctl.errors import RecipeError


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0


def tty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stdin and stderr be a terminal, and this process in front of it; stdout is a pipe."""
    monkeypatch.setattr(sys, "stdin", Tty())
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    monkeypatch.setenv("TERM", "xterm")


def test_on_a_terminal_also_with_stdout_in_a_pipe(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    assert process.is_interactive()
    assert train.use_background(None, detach=False, json=False)


@pytest.mark.parametrize("name", ["stdin", "stderr"])
def test_not_where_one_is_no_terminal(monkeypatch: pytest.MonkeyPatch, name: str):
    tty(monkeypatch)
    monkeypatch.setattr(sys, name, io.StringIO())
    assert not process.is_interactive()
    with pytest.raises(RecipeError, match="--tui needs a terminal"):
        train.use_background(True, detach=False, json=False)


def test_not_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not process.is_interactive()


def test_not_in_the_background(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    assert not process.is_interactive()


def test_not_where_it_was_not_wanted(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    assert not train.use_background(False, detach=False, json=False)
    assert not train.use_background(None, detach=False, json=True)
    assert train.use_background(None, detach=True, json=False)


FAULTS = """
import resource
from afdctl.cli import process

def faults():
    # several at once, as malloc keeps some
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [bytearray(4 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    process.keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have other settings")
def test_freed_blocks_are_used_again_instead_of_faulted_in():
    kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(keep=keep)])) for keep in (True, False)
    )
    assert kept < 100 < given_back
