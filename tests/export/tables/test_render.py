"""Every format, read back by a library or by eye."""

import csv
import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from pyarrow import parquet

from afdctl.errors import AfdctlError
from afdctl.export.tables import render
from afdctl.export.tables.base import Table, build_table
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.export.tables.sample_runs import cell_rows, make_record
from tests.journals import final_test


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Two rows: AT of two seeds under PGD only, and NT with only the results of its final test."""
    monkeypatch.chdir(tmp_path)
    test = [final_test(0.5, 0.1) | {"n": 1000}]
    runs = [make_record(tmp_path / "runs", "nt", "mnist_nt", test)]
    for seed in (1, 2):
        done = cell_rows("pgd_linf", {0.3: 0.8 + seed / 10})
        made = make_record(tmp_path / "runs", f"at_{seed}", "mnist_at", done, f"seed={seed}")
        # a name that afdctl does not give, but that the user's renaming does
        runs.append(Record.of(Run(made.run.path.rename(tmp_path / f"runs/a|t_{seed}"))))
    return build_table("1", runs, with_paper=True)


def test_markdown(table: Table) -> None:
    lines = str(render.FORMATS["md"](table)).splitlines()
    assert lines[0] == "**Table 1. Accuracy (%) on natural images and under attacks at nominal epsilon.**"
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["Dataset", "Method", "Clean"]
    assert set(lines[3]) == set("|-: ")
    at = [cell.strip() for cell in lines[5].split("|")[1:-1]]
    assert at[:4] == ["MNIST", "AT", "99.00 ± 0.00 (99.35, −0.35)", "95.00 ± 7.07 (95.66, −0.66)"]
    assert len({line.count("|") for line in lines[2:9]}) == 1
    assert at[4] == "– (92.78)"
    (missing,) = (line for line in lines if line.startswith("- To compute the missing values (–): "))
    assert "`afdctl sweep nt 'a|t_1' 'a|t_2' --suite paper-A2 --attacks pgd_linf,cw,aa`; " in missing


def test_csv(table: Table) -> None:
    nt, at, *_ = csv.DictReader(StringIO(str(render.FORMATS["csv"](table))))
    assert (nt["dataset"], nt["method"], nt["runs"], nt["clean"], nt["clean_n"]) == ("mnist", "NT", "nt", "0.5", "1000")
    assert nt["cw_l2_wb"] == ""
    assert at["runs"] == "a|t_1 a|t_2"
    assert float(at["pgd_linf_wb"]) == pytest.approx(0.95)
    assert float(at["pgd_linf_wb_std"]) == pytest.approx(0.1 / 2**0.5)
    assert float(at["pgd_linf_wb_difference"]) == pytest.approx(0.95 - 0.9566)


def test_json(table: Table) -> None:
    read = json.loads(render.FORMATS["json"](table))
    assert (read["schema"], read["table"], len(read["rows"])) == ("afdctl/1", "1", 5)
    nt = read["rows"][0]
    assert (nt["runs"], nt["clean"], nt["aa_linf_wb"]) == (["nt"], 0.5, None)
    assert 0.469 < nt["clean_low"] < 0.5 < nt["clean_high"] < 0.531
    assert read["missing"] == table.missing
    assert "afdctl sweep nt 'a|t_1' 'a|t_2' --suite paper-A2 --attacks pgd_linf,cw,aa" in read["missing"]


def test_parquet(table: Table) -> None:
    content = render.FORMATS["parquet"](table)
    assert isinstance(content, bytes)
    read = parquet.read_table(BytesIO(content))
    assert read["runs"].to_pylist()[:2] == [["nt"], ["a|t_1", "a|t_2"]]
    assert read["clean"].to_pylist() == [0.5, pytest.approx(0.99), None, None, None]
    assert {str(read.schema.field(name).type) for name in ("clean", "aa_linf_wb", "clean_std")} == {"double"}
    assert read.schema.metadata[b"missing"].decode().splitlines() == table.missing


def test_latex(table: Table) -> None:
    text = str(render.FORMATS["latex"](table))
    assert text.isascii()
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    # unescaped braces are balanced, and every special character of TeX is escaped
    plain = re.sub(r"\\[{}%&#_$]", "", text)
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"[%#]", plain)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {re.sub(r"\\&", "", row).count("&") for row in rows} == {7}
    assert r"95.00 $\pm$ 7.07 (95.66, $-$0.66)" in text
    assert r"-{}-suite paper-A2" in text


def test_without_pyarrow_the_extra_is_named(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(AfdctlError, match=r"afdctl\[parquet\]"):
        render.FORMATS["parquet"](table)
