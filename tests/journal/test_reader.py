"""Follow a journal that grows, is torn, damaged, replaced, or very long."""

from itertools import pairwise
from pathlib import Path

import pytest

from afdctl.journal import JournalReader, JournalReplaced, parse_line, rows_between, sample
from afdctl.journal.reader import CHUNK
from tests.journals import sealed
from tests.tui import journals

ROWS = journals.training(100)
LINES = [journals.line(row) for row in ROWS]


def follower_of(path: Path) -> JournalReader:
    return JournalReader(path, tolerant=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def test_rows_come_once_with_the_byte_they_begin_at(journal: Path):
    journal.write_bytes(b"".join(LINES[:10]))
    follower = follower_of(journal)
    first = follower.read()
    assert [row for _, row in first] == ROWS[:10]
    assert [offset for offset, _ in first] == [sum(map(len, LINES[:n])) for n in range(10)]
    assert (follower.read(), follower.caught_up) == ([], True)
    journal.write_bytes(b"".join(LINES))
    assert [row for _, row in follower.read()] == ROWS[10:]


@pytest.mark.parametrize("cut", [1, 5, len(LINES[3]) - 1])
def test_a_line_cut_in_the_middle_waits_for_its_rest(journal: Path, cut: int):
    journal.write_bytes(b"".join(LINES[:3]) + LINES[3][:cut])
    follower = follower_of(journal)
    assert len(follower.read()) == 3
    journal.write_bytes(b"".join(LINES[:5]))
    assert [row for _, row in follower.read()] == ROWS[3:5]
    assert follower.damaged == 0


def test_a_torn_line_that_the_next_writer_cut_off_is_never_seen(journal: Path):
    journal.write_bytes(b"".join(LINES[:3]) + b"torn\n")
    follower = follower_of(journal)
    assert len(follower.read()) == 3
    journal.write_bytes(b"".join(LINES[:4]))
    assert [row for _, row in follower.read()] == [ROWS[3]]
    assert follower.damaged == 0


def test_a_damaged_line_between_good_ones_is_counted_and_passed_over(journal: Path):
    bad = LINES[4].replace(b"L_C", b"L_X")
    journal.write_bytes(b"".join([*LINES[:4], bad, *LINES[5:]]))
    follower = follower_of(journal)
    assert len(follower.read()) == len(ROWS) - 1
    assert follower.damaged == 1


def test_binary_garbage_has_no_rows(journal: Path):
    journal.write_bytes(b"\x00\xff" * CHUNK + b"\n" + LINES[0])
    follower = follower_of(journal)
    assert follower.read() == []
    while not follower.caught_up:
        rows = follower.read()
    assert [row for _, row in rows] == ROWS[:1]
    assert follower.damaged == 1
    assert parse_line(sealed(b"[]")) is None


def test_little_is_read_at_once(journal: Path):
    journal.write_bytes(b"".join(LINES))
    follower = follower_of(journal)
    first = follower.read(2000)
    assert 0 < len(first) < len(ROWS)
    assert not follower.caught_up
    rest = []
    while not follower.caught_up:
        rest += follower.read(2000)
    assert [row for _, row in [*first, *rest]] == ROWS


@pytest.mark.parametrize("limit", [1 << 10, 1 << 18])
def test_a_line_of_any_length_is_read(journal: Path, limit: int):
    long = {"event": "sweep", "t": 1.0, "cells": ["x" * 1000] * 3000}
    journal.write_bytes(LINES[0] + journals.line(long) + LINES[1])
    follower = follower_of(journal)
    rows = follower.read(limit)
    for _ in range(20):
        rows += follower.read(limit)
    assert [row for _, row in rows] == [ROWS[0], long, ROWS[1]]
    assert follower.caught_up


def test_damage_of_any_length_is_passed_over(journal: Path):
    journal.write_bytes(LINES[0] + b"\x00" * 50_000 + b"bad\n" * 50_000 + LINES[1])
    follower = follower_of(journal)
    rows = [row for _ in range(200) for _, row in follower.read(1 << 10)]
    assert rows == ROWS[:2]
    assert follower.damaged == 50_000


def test_a_line_that_would_not_fit_into_memory_is_passed_over(journal: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("afdctl.journal.reader.MAX_LINE", 4096)
    journal.write_bytes(LINES[0] + b"x" * 50_000 + b"\n" + LINES[1])
    follower = follower_of(journal)
    rows = [row for _ in range(60) for _, row in follower.read(1 << 10)]
    assert rows == ROWS[:2]
    assert follower.damaged > 0


@pytest.mark.parametrize("limit", [1 << 10, 3000, 1 << 18])
def test_lines_just_shorter_than_that_are_read_whole(journal: Path, monkeypatch: pytest.MonkeyPatch, limit: int):
    monkeypatch.setattr("afdctl.journal.reader.MAX_LINE", 4096)
    rows = [{"event": "sweep", "t": 1.0, "cells": ["x" * 3000, number]} for number in range(9)]
    journal.write_bytes(b"".join(map(journals.line, rows)))
    follower = follower_of(journal)
    assert [row for _ in range(60) for _, row in follower.read(limit)] == rows
    assert follower.damaged == 0


def test_a_long_unfinished_line_is_read_once_until_it_grows(journal: Path, monkeypatch: pytest.MonkeyPatch):
    journal.write_bytes(LINES[0] + b"x" * 100_000)
    follower = follower_of(journal)
    assert len(follower.read()) == 1
    monkeypatch.setattr("afdctl.journal.reader.BytesIO", None)
    assert follower.read() == []


def test_a_longer_journal_in_place_of_the_old_one_is_noticed(journal: Path):
    journal.write_bytes(b"".join(LINES[:5]))
    follower = follower_of(journal)
    follower.read()
    journal.write_bytes(b"".join(LINES[50:]))
    with pytest.raises(JournalReplaced):
        follower.read()


def test_a_sample_of_a_file_without_line_ends_takes_no_time(journal: Path):
    with journal.open("wb") as file:
        file.write(LINES[0])
        file.truncate(1 << 40)
    assert [row for _, row in sample(journal, 50)] == ROWS[:1]


def test_a_row_that_is_nested_too_deeply_is_none():
    text = b'{"event":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert parse_line(sealed(text)) is None


def test_a_journal_that_became_shorter_is_another_one(journal: Path):
    journal.write_bytes(b"".join(LINES))
    follower = follower_of(journal)
    follower.read()
    journal.write_bytes(LINES[0])
    with pytest.raises(JournalReplaced):
        follower.read()


def test_a_journal_that_is_gone(journal: Path):
    with pytest.raises(FileNotFoundError):
        follower_of(journal).read()


def test_a_sample_holds_the_beginning_the_end_and_lines_between(journal: Path):
    rows = journals.training()
    journal.write_bytes(b"".join(map(journals.line, rows)))
    found = [row for _, row in sample(journal, 50)]
    assert (found[0], found[-1]) == (rows[0], rows[-1])
    steps = [row["step"] for row in found if row["event"] == "step"]
    assert 40 <= len(steps) < 200
    assert steps == sorted(set(steps))
    assert max(b - a for a, b in pairwise(steps)) < 60


def test_rows_between_two_bytes(journal: Path):
    journal.write_bytes(b"".join(LINES))
    begin, end = sum(map(len, LINES[:20])), sum(map(len, LINES[:24]))
    assert rows_between(journal, begin, end) == ROWS[20:24]
