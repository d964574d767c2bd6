"""A journal without its steps says what the whole of it says of everything else."""

from pathlib import Path

import pytest

from afdctl.errors import CorruptError, NotFoundError
from afdctl.events import SCHEMA, effective, read
from afdctl.store.outline import ending, outline
from tests.written import Row, end, epoch, final_test, resumed, steps, swept, trained, written


def interrupted() -> list[Row]:
    """Three epochs with a kill in the second and in the third."""
    again = resumed(10, 1)
    return [
        *steps(1, 10), epoch(1), *steps(11, 17), again, *steps(11, 20), epoch(2), *steps(21, 30), epoch(3),
        resumed(20, 2), *steps(21, 30), epoch(3), final_test(), end(),
    ]  # fmt: skip


def without_steps(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["event"] != "step"]


@pytest.mark.parametrize("rows", [[], trained(), interrupted(), steps(1, 7), [*steps(1, 10), epoch(1), *steps(11, 13)]])
def test_nothing_but_steps_is_missing(tmp_path: Path, rows: list[Row]):
    run = written(tmp_path, "one", rows)
    whole = effective(read(run.journal_path))
    assert without_steps(outline(run.journal_path)) == without_steps(whole)
    last = [row["step"] for row in whole if row["event"] == "step"][-1:]
    assert [row["step"] for row in outline(run.journal_path) if row["event"] == "step"][-1:] == last
    assert outline(run.journal_path) == ending(run.journal_path)


def test_the_end_of_a_long_journal_is_all_since_its_last_epoch(tmp_path: Path):
    run = written(tmp_path, "one", interrupted())
    swept(run, {0.1: 0.5})
    whole = outline(run.journal_path)
    for reach in (1, 500, 1000, 4000):
        rows = ending(run.journal_path, reach)
        assert rows[0] == whole[0]
        assert rows[1:] == whole[-len(rows) + 1 :]
        assert [row["event"] for row in rows][-6:] == ["epoch", "test", "end", "sweep", "cell", "swept"]
    assert len(ending(run.journal_path, 1)) < len(whole)


def test_a_resume_in_view_supersedes_the_epoch_in_view(tmp_path: Path):
    """The last epoch that counts lies before it, and is looked for."""
    again = resumed(10, 1)
    run = written(tmp_path, "one", [*steps(1, 10), epoch(1, acc_nat=0.3), *steps(11, 20), epoch(2), again])
    assert [row["acc_nat"] for row in ending(run.journal_path, 300) if row["event"] == "epoch"] == [0.3]


def test_a_torn_last_line_is_left_out_and_a_bad_one_before_others_is_an_error(tmp_path: Path):
    path = written(tmp_path, "one", trained()).journal_path
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert [row["event"] for row in outline(path)][-1] == "test"
    path.write_bytes(whole.replace(b'"event":"epoch"', b'"event":"apoch"', 1))
    for look in (outline, ending):
        with pytest.raises(CorruptError, match=r"events\.ndjson: a line is damaged"):
            look(path)


def test_what_is_not_there_and_what_is_newer_is_said(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no journal"):
        outline(tmp_path / "events.ndjson")
    run = written(tmp_path, "one", [{"event": "run", "schema": SCHEMA + 1}])
    with pytest.raises(NotFoundError, match="upgrade"):
        ending(run.journal_path)
