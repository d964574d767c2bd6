"""Acknowledged rows are kept, damage is found, and one process writes."""

import fcntl
import json
import math
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

import afdctl
from afdctl.errors import BusyError, CorruptError, NotFoundError
from afdctl.journal import SCHEMA, Journal, JournalOutline, JournalReader, current_writer, read_rows
from afdctl.journal.reader import strict_errors

ATTACK = {"attack": "pgd", "norm": "linf", "source": None}
WRITER = """
import os, sys
from pathlib import Path
from afdctl.journal import Journal
journal, step = Journal.open(Path(sys.argv[1])), int(sys.argv[2])
os.write(1, b"open\\n")
while len(sys.argv) > 3 or sys.stdin.read():
    journal.extend([{"event": "step", "step": step + more, "epoch": 1} for more in (0, 1)])
    step += 2
    os.write(1, b"%d\\n" % (step - 1))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist-001"
    folder.mkdir()
    return folder / "events.ndjson"


def write_steps(path: Path, count: int) -> list[int]:
    """Write `count` step rows; return 0 and the offset after each."""
    offsets = [0]
    with Journal.open(path) as journal:
        for step in range(count):
            journal.append("step", step=step, epoch=1)
            offsets.append(journal.offset)
    return offsets


def pid_of(path: Path) -> int | None:
    writer = current_writer(path)
    return writer.pid if writer else None


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read_rows(path)]


@contextmanager
def writer(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the journal; with a second argument it writes until it is killed."""
    environment = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(path), *(arguments or ("0",))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


def test_a_line_is_one_json_object_whose_last_member_is_the_crc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000000.12345)
    with Journal.open(path) as journal:
        journal.append("warning", step=3, message="a\tb\nc")
    text = rb'{"event":"warning","t":1700000000.123,"step":3,"message":"a\tb\nc"}'
    assert path.read_bytes() == text[:-1] + b',"crc":"%08x"}\n' % crc32(text[:-1])
    assert list(read_rows(path)) == [{"event": "warning", "t": 1700000000.123, "step": 3, "message": "a\tb\nc"}]


def test_nan_and_infinity_become_null(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("cost", t=1.5, L_C=math.nan, deep={"a": [math.inf, 1, "x"], "b": (-math.inf, None)})
    assert list(read_rows(path)) == [
        {"event": "cost", "t": 1.5, "L_C": None, "deep": {"a": [None, 1, "x"], "b": [None, None]}}
    ]


def test_many_rows_are_one_write_and_each_line_is_announced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    lines: list[str] = []
    pwrite = os.pwrite
    with Journal.open(path) as journal:
        monkeypatch.setattr(os, "pwrite", lambda *a: sizes.append(len(a[1])) or pwrite(*a))  # type: ignore[func-returns-value]
        journal.on_line = lines.append
        journal.extend({"event": "step", "step": step, "epoch": 1} for step in range(5))
        assert sizes == [journal.offset] == [path.stat().st_size]
    assert [json.loads(line) for line in lines] == list(read_rows(path))
    assert steps(path) == [0, 1, 2, 3, 4]


def test_rows_reach_the_disk_every_two_seconds_and_on_demand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, flushed = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("afdctl.journal.writer._flush", lambda _: flushed.append(now[0]))
    with Journal.open(path) as journal:
        for moment in (100.5, 101.9, 102.0, 103.9, 104.5):
            now[0] = moment
            journal.append("step", step=0, epoch=1)
        assert flushed == [102.0, 104.5]
        journal.sync()
        assert flushed == [102.0, 104.5, 104.5]
    assert len(flushed) == 4


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_can_be_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdctl.journal.writer._flush", lambda _: None)
    offsets = write_steps(path, 4)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(offset <= cut for offset in offsets) - 1
        assert steps(path) == list(range(kept))
        with Journal.open(path) as journal:
            assert journal.offset == path.stat().st_size == offsets[kept]
            journal.append("step", step=99, epoch=1)
        assert steps(path) == [*range(kept), 99]


def test_every_flipped_bit_in_the_middle_is_found_and_nothing_is_cut_off(path: Path) -> None:
    offsets = write_steps(path, 4)
    whole = path.read_bytes()
    for position in range(offsets[1], offsets[2]):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(CorruptError, match=r"mnist-001/events\.ndjson:2: damaged"):
                steps(path)
            with pytest.raises(CorruptError, match=r"mnist-001/events\.ndjson:2: damaged"):
                JournalReader(path, step_gap=inf).read_all()
    with pytest.raises(CorruptError, match=":2:"):
        Journal.open(path)
    assert path.read_bytes() == damaged
    assert current_writer(path) is None


def test_a_reader_continues_where_it_stopped(path: Path) -> None:
    offsets = write_steps(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[2] + 5])
    reader = JournalReader(path)
    assert [(begin, row["step"]) for begin, row in reader.read_all()] == [(0, 0), (offsets[1], 1)]
    assert (reader.read_all(), reader.end) == ([], offsets[2])
    path.write_bytes(whole)
    assert [(begin, row["step"]) for begin, row in reader.read_all()] == [(offsets[2], 2)]


@pytest.mark.parametrize("cut", [1, 5, 40])
@pytest.mark.parametrize("limit", [1, 1 << 18])
def test_a_line_that_grows_while_it_is_read_is_not_damaged(path: Path, cut: int, limit: int) -> None:
    offsets = write_steps(path, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[1] + cut])
    reader = JournalReader(path)
    rows = reader.read(limit)
    path.write_bytes(whole)
    while len(rows) < 4:
        rows += reader.read(limit)
    assert [row["step"] for _, row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "garbage", [b"\0" * 700_000, b"bad\n" * 100_000, b"\0" * 300_000 + b"\n", b'{"event":"step"}\n']
)
def test_garbage_after_the_last_intact_line_is_cut_off_and_a_reader_continues(path: Path, garbage: bytes) -> None:
    (_, end) = write_steps(path, 1)
    with path.open("ab") as file:
        file.write(garbage)
    reader = JournalReader(path)
    assert (len(reader.read_all()), reader.end) == (1, end)
    with Journal.open(path) as journal:
        assert journal.offset == path.stat().st_size == end
        journal.append("step", step=1, epoch=1)
    assert [row["step"] for _, row in reader.read_all()] == [1]


def test_damage_far_before_the_next_intact_line_is_found(path: Path) -> None:
    write_steps(path, 1)
    line = path.read_bytes()
    path.write_bytes(line + b"bad\n" * 200_000 + line)
    with pytest.raises(CorruptError, match=r"events\.ndjson:2: damaged"):
        steps(path)


def test_a_journal_replaced_while_it_is_read_is_an_error(path: Path) -> None:
    write_steps(path, 3)
    reader = JournalReader(path)
    reader.read_all()
    path.write_bytes(path.read_bytes()[:20])
    with (
        pytest.raises(CorruptError, match="was replaced while it was read; run the command again"),
        strict_errors(path),
    ):
        reader.read_all()


def test_only_rows_of_chosen_events_are_parsed_and_all_lines_verified(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steps(path, 3)
    with Journal.open(path) as journal:
        journal.append("warning", message="hot")
        journal.append("end", reason="finished", exit_code=0, message=None)
    parsed = []
    monkeypatch.setattr("afdctl.journal.reader.check_row", lambda text: parsed.append(text) or json.loads(text))
    outline = JournalOutline(path)
    parsed.clear()
    assert [row["event"] for row in outline.read(["warning", "epoch"])] == ["warning"]
    assert len(parsed) == 1
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":7'))
    with pytest.raises(CorruptError, match=":2: damaged"):
        list(read_rows(path, events=["warning"]))


def test_a_row_that_is_not_listed_is_refused(path: Path) -> None:
    with Journal.open(path) as journal:
        with pytest.raises(ValueError, match=r"'swept' .* not listed"):
            journal.append("swept", reason="finished")
        with pytest.raises(ValueError, match="not listed"):
            journal.append("warning", message="x", crc="0")
        assert journal.offset == 0


def test_other_programs_read_it_as_it_is(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("warning", message='tab\t, "quotes", ε, \x00')
        journal.append("sweep_progress", **ATTACK, done=1, n=2, accuracy={"0.1": math.nan})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(row)[-1] for row in rows] == ["crc", "crc"]
    assert [{key: row[key] for key in row if key != "crc"} for row in rows] == list(read_rows(path))
    if jq := shutil.which("jq"):
        command = [jq, "-r", "[.event, .message // .done, .crc] | @json", str(path)]
        printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
        expected = [[row["event"], row.get("message", row.get("done")), row["crc"]] for row in rows]
        assert list(map(json.loads, printed)) == expected


@pytest.mark.parametrize("first", [b'{"event":"run","t":1.5,"schema":2,"name":"toy"}', b'{"event":"sweep","cells":[]}'])
@pytest.mark.parametrize("read", [steps, Journal.open, JournalOutline])
def test_a_journal_of_the_old_format_is_no_damage(path: Path, first: bytes, read: Callable[[Path], Any]) -> None:
    step = b'{"event":"step","t":1.5,"step":1,"epoch":1}'
    old = b"".join(text + b"\t%08x\n" % crc32(text) for text in (first, step, step))
    path.write_bytes(old)
    message = rf"events\.ndjson: has schema 2, this afdctl reads {SCHEMA}; train or evaluate again$"
    with pytest.raises(NotFoundError, match=message):
        read(path)
    assert path.read_bytes() == old
    assert JournalReader(path, tolerant=True).read()[0] == (0, {"event": "run", "schema": 2})


def test_a_newer_schema_is_refused_by_reader_and_writer(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("run", schema=SCHEMA + 1)
    with pytest.raises(NotFoundError, match=f"schema {SCHEMA + 1}.*upgrade"):
        list(read_rows(path))
    with pytest.raises(NotFoundError, match="upgrade"):
        Journal.open(path)


def test_a_missing_journal_is_reported(path: Path) -> None:
    with pytest.raises(NotFoundError, match="missing; restore it"):
        list(read_rows(path))
    assert current_writer(path) is None


def test_a_second_writer_is_refused_until_the_first_is_killed(path: Path) -> None:
    with writer(path) as process:
        started = time.strftime("%H:%M", time.localtime(path.with_name("events.ndjson.lock").stat().st_mtime))
        assert pid_of(path) == process.pid
        with pytest.raises(BusyError, match=f"run mnist-001 is being written by pid {process.pid} since {started};"):
            Journal.open(path)
        assert pid_of(path) == process.pid
        process.kill()
        process.wait()
        assert current_writer(path) is None
        with Journal.open(path):
            assert pid_of(path) == os.getpid()


def test_a_reader_of_the_lock_is_not_taken_for_the_writer(path: Path) -> None:
    write_steps(path, 1)
    with path.with_name("events.ndjson.lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert current_writer(path) is None
        timer = threading.Timer(0.05, fcntl.flock, (asking, fcntl.LOCK_UN))
        timer.start()
        with Journal.open(path):
            assert pid_of(path) == os.getpid()
        timer.join()


@pytest.mark.parametrize("journals", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_no_acknowledged_row_is_lost_to_kill_9(path: Path, journals: int) -> None:
    draw = random.Random(0)
    for number in range(journals):
        journal = path.with_name(f"{number}.ndjson")
        next_step = 0
        for _ in range(30):
            with writer(journal, str(next_step), "forever") as process:
                time.sleep(draw.uniform(0, 0.01))
                process.kill()
                acknowledged = process.communicate()[0].split()
            found = steps(journal)
            assert found == list(range(len(found)))
            assert len(found) > max(map(int, acknowledged), default=next_step - 1)
            next_step = len(found)
        assert next_step > 300
