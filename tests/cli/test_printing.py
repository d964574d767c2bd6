"""Test that text from files cannot control the terminal."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.progress import Progress, TextColumn
from rich.table import Table

from afdctl.cli.console import Console
from afdctl.cli.process import escape_output, raw_stream
from tests.cli.conftest import Afdctl
from tests.cli.trainings import ENVIRONMENT

NAME = "x\x1b]0;pwn\x07[red]\x9bm\u202e"
SHOWN = r"x\x1b]0;pwn\x07[red]\x9bm\u202e"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_error_names_what_was_typed_in_printable_letters(afdctl: Afdctl):
    assert afdctl("runs", "show", NAME) == (
        3,
        "",
        f"error: {SHOWN}: no such run under runs; name another folder with --runs\n",
    )


def test_a_mistake_in_the_command_is_printed_as_safely(afdctl: Afdctl):
    code, out, err = afdctl("runs", "show", "a", NAME)
    assert (code, out) == (2, "")
    assert SHOWN in err


def test_the_streams_are_what_they_were_afterwards(monkeypatch: pytest.MonkeyPatch):
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    with escape_output():
        sys.stdout.write(NAME)
        raw_stream(sys.stdout).write("\x1b[0m")
        assert sys.stdout.isatty()
    assert sys.stdout is stream
    assert stream.getvalue() == SHOWN + "\x1b[0m"


def test_a_locale_without_utf_8_is_no_way_past_it(monkeypatch: pytest.MonkeyPatch):
    """click writes to the buffer of a stream whose encoding is ASCII."""
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    with escape_output():
        typer.echo(f"{NAME}é")
    sys.stdout.flush()
    assert data.getvalue().decode("ascii") == f"{SHOWN}?\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["recipes show digits_nt", "runs rm - --yes", "recipes ls --json"])
def test_a_stream_that_is_closed_before_the_start_is_no_traceback(tmp_path: Path, words: str, closed: str):
    command = f"{sys.executable} -m afdctl {words} {closed}"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr
    assert ended.returncode == (3 if "rm" in words else 0)


def test_tables_and_bars_keep_their_colours_and_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch):
    stream = Tty()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with escape_output():
        console = Console()
        console.width = 80
        table = Table()
        table.add_column("run", no_wrap=True)
        table.add_row(NAME, style="bold")
        console.print(table)
        bar = Progress(TextColumn("{task.description}", markup=False), console=console)
        with bar:
            bar.add_task(NAME)
    written = stream.getvalue()
    assert SHOWN in written, "whole in its column, with the width that it takes"
    assert r"x\x1b]0;pwn[r" in written, "and in the bar"
    assert "\x1b[1m" in written
    for code in ("\x1b]", "\x07", "\x9b", "\u202e"):
        assert code not in written
