"""The outline of a journal has every row that counts, and most steps only in the file."""

from itertools import groupby
from pathlib import Path

import pytest

from afdctl.errors import CorruptError, NotFoundError
from afdctl.journal import SCHEMA, JournalCache, JournalOutline, drop_superseded, read_rows
from tests.journals import Row, end, epoch, final_test, resumed, steps, trained, written


def interrupted() -> list[Row]:
    """Three epochs with a kill in the second and in the third."""
    again = resumed(10, 1)
    return [
        *steps(1, 10),
        epoch(1),
        *steps(11, 17),
        again,
        *steps(11, 20),
        epoch(2),
        *steps(21, 30),
        epoch(3),
        resumed(20, 2),
        *steps(21, 30),
        epoch(3),
        final_test(),
        end(),
    ]


@pytest.mark.parametrize("rows", [[], trained(), interrupted(), steps(1, 7), [*steps(1, 10), epoch(1), *steps(11, 13)]])
def test_it_has_all_rows_that_count_and_in_memory_all_but_most_steps(tmp_path: Path, rows: list[Row]):
    outline = JournalOutline(written(tmp_path, "one", rows).journal_path)
    counted = drop_superseded(read_rows(outline.path))
    assert list(outline.read()) == counted
    assert outline.end == outline.path.stat().st_size
    others = [row for row in counted if row["event"] != "step"]
    assert [row for row in outline.rows if row["event"] != "step"] == others
    assert [row["step"] for row in outline.rows if row["event"] == "step"][-1:] == [
        row["step"] for row in counted if row["event"] == "step"
    ][-1:]
    assert all(len(list(same)) == 1 for kind, same in groupby(outline.rows, lambda row: row["event"]) if kind == "step")


def test_it_ends_where_the_journal_ended(tmp_path: Path):
    run = written(tmp_path, "one", steps(1, 10))
    outline = JournalOutline(run.journal_path)
    with run.open_journal() as journal:
        journal.extend([*steps(11, 20), resumed(5, 0)])
    assert [row["step"] for row in outline.read(["step"])] == list(range(1, 11))


def test_a_reader_reads_on(tmp_path: Path):
    reader = JournalCache(tmp_path / "one" / "events.ndjson")
    assert reader.of_event("run") == []
    run = written(tmp_path, "one", steps(1, 10))
    assert len(reader.of_event("run")) == 1
    with run.open_journal() as journal:
        journal.extend([*steps(11, 20), epoch(1)])
    assert [row["epoch"] for row in reader.of_event("epoch")] == [1]
    assert [row["event"] for row in reader.rows] == ["run", "step", "step", "epoch"]


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    path = written(tmp_path, "one", trained()).journal_path
    path.write_bytes(path.read_bytes()[:-9])
    assert [row["event"] for row in JournalOutline(path).rows][-1] == "test"


@pytest.mark.parametrize("event", [b"step", b"epoch"])
def test_a_damaged_line_is_found_even_if_it_is_not_parsed(tmp_path: Path, event: bytes):
    path = written(tmp_path, "one", trained()).journal_path
    path.write_bytes(path.read_bytes().replace(b'"event":"%s","t":1' % event, b'"event":"%s","t":3' % event, 1))
    with pytest.raises(CorruptError, match=r"events\.ndjson:\d+: damaged"):
        JournalOutline(path)


def test_a_missing_and_a_newer_journal_are_reported(tmp_path: Path):
    with pytest.raises(NotFoundError, match="missing; restore it"):
        JournalOutline(tmp_path / "events.ndjson")
    run = written(tmp_path, "one", [{"event": "run", "schema": SCHEMA + 1}])
    with pytest.raises(NotFoundError, match="upgrade"):
        JournalOutline(run.journal_path)
