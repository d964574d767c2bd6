"""Test `afdctl export --report`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Afdctl
from tests.journals import trained, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path / "runs", "one", trained())
    written(tmp_path / "runs", "two", trained())
    return tmp_path


def test_the_report_of_the_named_runs_is_written(afdctl: Afdctl, folder: Path):
    assert afdctl("export", "one", "two", "--report", "out.html") == (0, "out.html\n", "")
    assert "<title>one, two · afdctl</title>" in (folder / "out.html").read_text()
    assert json.loads(afdctl("export", "--report", "newest.html", "--json").out)["report"] == "newest.html"
    assert "<title>two · afdctl</title>" in (folder / "newest.html").read_text()
    assert afdctl("export", "one", "two", "--report", "pages/").out == "pages/one-and-two-report.html\n"
    assert afdctl("export", "one", "--report", "pages").out == "pages/one-report.html\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--report", "nowhere/out.html"],
            "--report nowhere/out.html: there is no folder nowhere; make it first, or end a folder's name with /",
        ),
        (["--report", "runs/one/run.json/"], "--report runs/one/run.json/: is a file, not a folder; name a folder"),
        (["--report", "a.html", "--out", "b.html"], "--report: names its own file; leave --out out"),
        (["--report", "a.html", "--weights", "onnx"], "--weights and --report: one mode at a time"),
    ],
)
def test_a_mistake_is_one_line(afdctl: Afdctl, arguments: list[str], message: str):
    ended = afdctl("export", "one", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1


def test_a_damaged_run_is_one_line(afdctl: Afdctl, folder: Path):
    journal = folder / "runs" / "one" / "events.ndjson"
    journal.write_bytes(journal.read_bytes().replace(b'"event":"epoch"', b'"event":"apoch"', 1))
    ended = afdctl("export", "one", "--report", "out.html")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert "runs/one/events.ndjson:12: damaged" in ended.err
    assert not (folder / "out.html").exists()
