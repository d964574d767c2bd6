"""`afdctl watch` without a terminal: one frame, plain lines, and mistakes."""

import io
import sys
from pathlib import Path

import pytest

from afdctl import cli
from tests.cli.conftest import Ended
from tests.tui import journals


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals.write(tmp_path / "runs" / "a-001", journals.training(620))
    journals.write(tmp_path / "runs" / "a-002", journals.training())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def watch(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["afdctl", "watch", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return run


def test_one_frame_as_text(watch):
    code, out, err = watch("a-001", "--once", "--size", "100x30")
    assert (code, err) == (0, "")
    assert out.startswith(" afdctl a-001  ✖ crashed")
    assert len(out.splitlines()) == 30
    assert "\x1b" not in out


def test_one_frame_as_a_picture(watch, folder: Path):
    assert watch("a-001", "--once", "--svg", "out.svg") == (0, "out.svg\n", "")
    assert (folder / "out.svg").read_text().startswith("<svg")


def test_the_newest_run_is_watched_and_several_are_compared(watch):
    assert " afdctl a-002  ✔ finished" in watch("--once")[1]
    assert "─ Compared runs ─" in watch("a-001", "a-002", "--once")[1]


def test_no_name_on_stdin(watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, out, err = watch("-", "--once")
    assert (code, out) == (3, "")
    assert err == "error: -: stdin has no run's path\n"


def test_names_from_stdin(watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("runs/a-001\n"))
    assert " afdctl a-001 " in watch("-", "--once")[1]


def test_without_a_terminal_the_history_is_printed_in_lines(watch):
    code, out, err = watch("a-002")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("mnist_wgan-001: AFD-WGAN on mnist, 262,896 parameters")
    assert sum(line.startswith("epoch ") for line in lines) == 20
    assert lines[-2].startswith("test, best checkpoint")


def test_damaged_and_unknown_lines_are_reported_and_skipped(watch, folder: Path):
    rows = journals.training()
    strange = [{"event": "epoch"}, {"event": "warning"}, {"event": "run", "epochs": []}]
    text = (
        b"".join(map(journals.line, [*strange, *rows[:5]]))
        + b"damaged\n" * 200_000
        + b"".join(map(journals.line, rows[5:]))
    )
    (folder / "runs/a-002/events.ndjson").write_bytes(text)
    code, out, err = watch("a-002")
    assert code == 0
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 20
    assert err.count("warning: a line that this afdctl cannot read: ") == len(strange)
    assert err.endswith("a-002/events.ndjson: 200000 damaged lines were left out\n")


def test_what_a_journal_says_steers_no_terminal(watch, folder: Path):
    rows = journals.training()
    rows.append({"event": "warning", "t": rows[-1]["t"], "message": "\x1b]0;pwn\x07\x9b"})
    journals.write(folder / "runs" / "a-002", rows)
    assert r"warning: \x1b]0;pwn\x07\x9b" in watch("a-002")[1]
    frame = watch("a-002", "--once")[1]
    assert "·]0;pwn··" in frame
    assert watch("a-002", "--once", "--svg", "x.svg")[0] == 0
    for text in (frame, (folder / "x.svg").read_text()):
        assert not set("\x1b\x07\x9b") & set(text)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nosuch"], 3, "nosuch: no such run under runs; name another folder with --runs"),
        (["no/such"], 3, "no/such: no such folder; check the path"),
        (["a-003"], 3, "a-003: no such run under runs; did you mean 'a-002'?"),
        (
            ["--runs", "empty"],
            3,
            "empty: no run here; start one with `afdctl train`, or name another folder with --runs",
        ),
        (["a-001", "--svg", "x.svg"], 2, "--svg needs --once; add it, or press e in the dashboard"),
        (["a-001", "--once", "--size", "80"], 2, "--size '80': must be a width and a height in cells, such as 150x44"),
        (
            ["a-001", "--once", "--size", "0x4"],
            2,
            "--size '0x4': must be a width and a height in cells, such as 150x44",
        ),
        (
            ["a-001", "--once", "--svg", "no/x.svg"],
            2,
            "--svg no/x.svg: there is no folder no; make it first, or end a folder's name with /",
        ),
    ],
)
def test_a_mistake_is_one_line(watch, words: list[str], code: int, message: str):
    assert watch(*words) == (code, "", f"error: {message}\n")


def test_a_newer_run_says_so(watch, folder: Path):
    (folder / "runs/a-001/run.json").write_text('{"schema": 99}')
    code, out, err = watch("a-001", "--once")
    assert (code, out) == (3, "")
    assert "upgrade afdctl" in err


def test_serving_needs_its_library(watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "textual_serve", None)
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    code, _, err = watch("a-001", "--serve")
    assert (code, err) == (1, "error: --serve needs textual-serve; install it with `pip install 'afdctl[serve]'`\n")
