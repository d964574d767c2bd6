"""When the dashboard opens by itself."""

import io
import os
import sys

import pytest

from afdctl.cli import terminal, train
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
    assert terminal.is_interactive()
    assert train.use_background(None, detach=False, json=False)


@pytest.mark.parametrize("name", ["stdin", "stderr"])
def test_not_where_one_is_no_terminal(monkeypatch: pytest.MonkeyPatch, name: str):
    tty(monkeypatch)
    monkeypatch.setattr(sys, name, io.StringIO())
    assert not terminal.is_interactive()
    with pytest.raises(RecipeError, match="--tui needs a terminal"):
        train.use_background(True, detach=False, json=False)


def test_not_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.is_interactive()


def test_not_in_the_background(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    assert not terminal.is_interactive()


def test_not_where_it_was_not_wanted(monkeypatch: pytest.MonkeyPatch):
    tty(monkeypatch)
    assert not train.use_background(False, detach=False, json=False)
    assert not train.use_background(None, detach=False, json=True)
    assert train.use_background(None, detach=True, json=False)
