"""Test `afdctl export --table`, `--events` and `--cells`."""

import json
from pathlib import Path

import pytest

from afdctl.journal import SCHEMA
from tests.cli.conftest import Afdctl
from tests.export.tables.sample_runs import cell_rows, make_record


@pytest.fixture
def runs(folder: Path) -> Path:
    """Two runs in the folder that commands look into."""
    root = folder / "runs"
    if not root.exists():
        make_record(root, "at", "mnist_at", cell_rows("aa", {0.3: 0.9}))
        make_record(root, "nt", "mnist_nt", [{"event": "step", "step": 1, "epoch": 1, "L_C": 1.0}])
    return root


def test_without_a_run_all_are_in_the_table(afdctl: Afdctl, runs: Path) -> None:
    ended = afdctl("export", "--table", "1", "--json")
    assert [row["method"] for row in json.loads(ended.out)["rows"]] == ["NT", "AT"]
    assert "all 2 under runs" in ended.err


def test_a_run_that_is_named_twice_counts_once(afdctl: Afdctl, runs: Path) -> None:
    ended = afdctl("export", "at", "runs/at", "--cells", "json")
    assert [row["run"] for row in json.loads(ended.out)["rows"]] == ["at"]


def test_the_suffix_of_out_selects_the_format(afdctl: Afdctl, runs: Path, tmp_path: Path) -> None:
    ended = afdctl("export", "at", "--table", "a1", "--out", str(tmp_path / "x.tex"))
    assert ended.out == f"{tmp_path / 'x.tex'}\n"
    assert (tmp_path / "x.tex").read_text().startswith(r"\begin{table}")
    assert afdctl("export", "at", "--table", "A1", "--format", "csv", "--out", str(tmp_path)).code == 0
    assert (tmp_path / "at-table-A1.csv").read_text().startswith("dataset,method,runs,model")


def test_a_pipe_gets_markdown_and_csv_has_its_notes_on_stderr(afdctl: Afdctl, runs: Path) -> None:
    assert afdctl("export", "at", "--table", "1").out.startswith("**Table 1.")
    ended = afdctl("export", "at", "--table", "1", "--format", "csv")
    assert len(ended.out.splitlines()) == 2
    assert "To compute the missing values (–): afdctl sweep at --suite paper-A2" in ended.err


def test_a_damaged_run_is_left_out_or_named(afdctl: Afdctl, runs: Path) -> None:
    journal = make_record(runs, "bad", "mnist_trades", []).run.journal_path
    journal.write_bytes(journal.read_bytes().replace(b"checkpoint", b"chockpoint"))
    half = make_record(runs, "half", "mnist_trades", []).run
    half.recipe_path.unlink()
    newer = make_record(runs, "newer", "mnist_trades", []).run.path / "run.json"
    newer.write_text(newer.read_text().replace(f'"schema": {SCHEMA}', '"schema": 9'))
    try:
        ended = afdctl("export", "--table", "1", "--json")
        assert len(json.loads(ended.out)["rows"]) == 2
        assert ended.err.count(" left out: ") == 3
        for words in ("events.ndjson:2: damaged", "recipe.toml", "warning: newer left out: "):
            assert words in ended.err
        assert afdctl("export", "bad", "--table", "1").code == 3
    finally:
        for name in ("bad", "half", "newer"):
            (runs / name).rename(runs.parent / name)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--table", "7"], 2, "--table 7: no such table"),
        (["at", "--table", "1", "--format", "docx"], 2, "--format docx: no such format"),
        (["at", "--table", "1", "--out", "x.docx"], 2, "no format has this suffix"),
        (["at", "--table", "1", "--json", "--format", "md"], 2, "give one of them"),
        (["at", "--table", "1", "--out", "x.json", "--format", "csv"], 2, "of json, but --format says csv; change"),
        (["at", "--table", "1", "--out", "x.csv", "--json"], 2, "--out x.csv: its suffix is that of csv, but --json"),
        (["nt", "--events", "csv", "--out", "x.parquet"], 2, "that of parquet, but --events says csv; change one"),
        (["at", "--cells", "json", "--out", "x.CSV"], 2, "that of csv, but --cells says json; change one"),
        (["at", "--events", "csv", "--paper"], 2, "--paper: goes with --table"),
        (["at", "--events", "cvs"], 2, "did you mean 'csv'?"),
        (["at", "--events", "csv"], 3, "--events: at has none"),
        (["nt", "--cells", "csv"], 3, "not attacked yet"),
        (["--table", "1", "--runs", "nowhere"], 3, "nowhere: no run here"),
        (["nt", "--events", "csv", "--cells", "csv"], 2, "one mode at a time"),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, runs: Path, arguments: list[str], code: int, words: str) -> None:
    ended = afdctl("export", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("error: ")]) == 1


def test_raw_rows_go_to_stdout_or_a_file(afdctl: Afdctl, runs: Path, tmp_path: Path) -> None:
    assert afdctl("export", "nt", "--events", "csv").out.splitlines()[0] == "run,event,t,step,epoch,L_C"
    ended = afdctl("export", "at", "--cells", "parquet", "--out", str(tmp_path))
    assert ended.out == f"{tmp_path / 'at-cells.parquet'}\n"
    assert (tmp_path / "at-cells.parquet").read_bytes()[:4] == b"PAR1"
