"""Test the tables of journal rows, in three formats."""

import csv
import json
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from pyarrow import csv as csv_file
from pyarrow import parquet

from afdctl.export import parquet as parquet_file
from afdctl.export import raw
from tests.export.tables.sample_runs import cell_rows, make_record
from tests.journals import resumed

STEPS = [
    {"event": "step", "step": 1, "epoch": 1, "L_C": 2.5, "L_D": float("nan")},
    {"event": "step", "step": 2, "epoch": 1, "L_C": 2},
    {"event": "cost"},
    {"event": "epoch", "epoch": 1, "step": 2, "acc_nat": 0.5, "acc_adv": 0.4, "best": True},
    resumed(1, 0),
    {"event": "step", "step": 2, "epoch": 1, "L_C": 1.5},
]


def test_events_are_those_of_the_training_that_was_not_superseded(tmp_path: Path) -> None:
    rows = raw.Events([make_record(tmp_path, name, "mnist_nt", STEPS) for name in ("a", "b")])
    assert [(row["run"], row["event"], row["step"], row["L_C"]) for row in rows] == [
        ("a", "step", 1, 2.5),
        ("a", "step", 2, 1.5),
        ("b", "step", 1, 2.5),
        ("b", "step", 2, 1.5),
    ]


def test_formats_read_back(tmp_path: Path) -> None:
    rows = list(raw.Events([make_record(tmp_path, "a", "mnist_nt", STEPS[:4])]))
    lines = list(csv.DictReader(StringIO("".join(raw.as_csv(rows)))))
    assert [line["event"] for line in lines] == ["step", "step", "epoch"]
    assert (lines[0]["L_D"], lines[2]["L_C"], lines[2]["best"]) == ("", "", "True")
    assert json.loads("".join(raw.as_json(rows))) == {"schema": "afdctl/1", "rows": rows}
    read = parquet.read_table(BytesIO(raw.as_parquet(rows)))
    assert read.column_names[:5] == ["run", "event", "t", "step", "epoch"]
    assert read["L_C"].to_pylist() == [2.5, 2.0, None]
    assert read["best"].to_pylist() == [None, None, True]


def test_parquet_has_the_rows_of_the_journal_whatever_is_between_its_steps(tmp_path: Path) -> None:
    """An integer among floats, a field that begins late, NaN, and two runs with different fields."""
    late = [{"event": "step", "step": step, "epoch": 1, "L_C": step / 7, "L_F": step} for step in range(3, 40)]
    records = [make_record(tmp_path, "a", "mnist_nt", [*STEPS[:4], *late, STEPS[3]])]
    events = raw.Events([*records, make_record(tmp_path, "b", "mnist_nt", STEPS[:2])])
    read = parquet.read_table(BytesIO(raw.as_parquet(events)))
    assert read.column_names[:5] == ["run", "event", "t", "step", "epoch"]
    rows = [{name: value for name, value in row.items() if value is not None} for row in read.to_pylist()]
    assert rows == [{name: value for name, value in row.items() if value is not None} for row in events]
    assert [str(read.schema.field(name).type) for name in ("run", "step", "L_C", "L_D", "best")] == [
        "string",
        "int64",
        "double",
        "double",
        "bool",
    ]


def test_steps_whose_fields_change_are_not_parsed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,500 steps with a field in every second, and 800 with it, which are one block; its last values are floats."""
    monkeypatch.setattr(parquet_file, "BATCH_ROWS", 600)
    mine = [*(None if step % 2 else step for step in range(1500)), *(step / 2 for step in range(1500, 2300))]
    rows = [
        {"event": "step", "step": step, "epoch": 1, "L_C": 1, **({} if value is None else {"mine": value})}
        for step, value in enumerate(mine)
    ]
    events = raw.Events([make_record(tmp_path, "a", "mnist_nt", rows)])
    parsed: list[object] = []
    read_csv = csv_file.read_csv
    monkeypatch.setattr(csv_file, "read_csv", lambda *args, **more: parsed.append(args) or read_csv(*args, **more))
    read = parquet.read_table(BytesIO(raw.as_parquet(events)))
    # for the types, and for the values
    assert len(parsed) == 2
    assert [str(read.schema.field(name).type) for name in ("L_C", "mine")] == ["int64", "double"]
    assert (read["step"].to_pylist(), read["mine"].to_pylist()) == (list(range(2300)), mine)


def test_cells_mark_those_that_count(tmp_path: Path) -> None:
    of = [
        *cell_rows("aa", {0.2: 0.9, 0.3: 0.8}, n=100),
        *cell_rows("aa", {0.3: 0.7}),
        *cell_rows("cw", {1.0: 0.5}, source="b"),
    ]
    rows = raw.cells([make_record(tmp_path, "a", "mnist_nt", of)])
    assert [(row["attack"], row["epsilon"], row["n"], row["source"], row["shown"]) for row in rows] == [
        ("aa", 0.2, 100, None, False),
        ("aa", 0.3, 100, None, False),
        ("aa", 0.3, 1000, None, True),
        ("cw", 1.0, 1000, "b", True),
    ]
    assert json.loads(rows[3]["spec"])["step_size"] == 0.05
    assert (rows[0]["dataset"], rows[0]["method"]) == ("mnist", "NT")
    assert parquet.read_table(BytesIO(raw.as_parquet(rows)))["accuracy"].to_pylist() == [0.9, 0.8, 0.7, 0.5]
