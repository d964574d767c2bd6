"""The journal: what is acknowledged is kept, what is damaged is found, and one process writes."""

import fcntl
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

import afdctl
from afdctl import journal as journal_module
from afdctl.errors import BusyError, CorruptError, NotFoundError
from afdctl.journal import SCHEMA, Journal, read, tail, writer_pid

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
    """Write `count` step rows and return the offset behind each, after a 0."""
    offsets = [0]
    with Journal.open(path) as journal:
        for step in range(count):
            journal.append("step", step=step, epoch=1)
            offsets.append(journal.offset)
    return offsets


def steps(path: Path) -> list[int]:
    return [row["step"] for row in read(path)]


@contextmanager
def writer(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the journal; with a second argument it writes until it is killed."""
    environment = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1])}
    command = [sys.executable, "-S", "-c", WRITER, str(path), *(arguments or ("0",))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


def test_a_line_is_compact_json_a_tab_and_the_crc(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000000.12345)
    with Journal.open(path) as journal:
        journal.append("warning", step=3, message="a\tb\nc")
    text = rb'{"event":"warning","t":1700000000.123,"step":3,"message":"a\tb\nc"}'
    assert path.read_bytes() == text + b"\t%08x\n" % crc32(text)
    assert list(read(path)) == [{"event": "warning", "t": 1700000000.123, "step": 3, "message": "a\tb\nc"}]


def test_what_is_not_a_number_becomes_null(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("cost", t=1.5, L_C=math.nan, deep={"a": [math.inf, 1, "x"], "b": (-math.inf, None)})
    assert list(read(path)) == [
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
    assert [json.loads(line) for line in lines] == list(read(path))
    assert steps(path) == [0, 1, 2, 3, 4]


def test_rows_reach_the_disk_every_two_seconds_and_on_demand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, flushed = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("afdctl.journal._flush", lambda _: flushed.append(now[0]))
    with Journal.open(path) as journal:
        for moment in (100.5, 101.9, 102.0, 103.9, 104.5):
            now[0] = moment
            journal.append("step", step=0, epoch=1)
        assert flushed == [102.0, 104.5]
        journal.sync()
        assert flushed == [102.0, 104.5, 104.5]
    assert len(flushed) == 4


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdctl.journal._flush", lambda _: None)
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
                list(tail(path, sparse=True))
    with pytest.raises(CorruptError, match=":2:"):
        list(read(path, offsets[1]))
    with pytest.raises(CorruptError, match=":2:"):
        Journal.open(path)
    assert path.read_bytes() == damaged
    assert writer_pid(path) is None


def test_a_reader_goes_on_where_it_stopped(path: Path) -> None:
    offsets = write_steps(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[2] + 5])
    seen = list(tail(path))
    assert [(row["step"], offset) for row, offset in seen] == [(0, offsets[1]), (1, offsets[2])]
    assert list(tail(path, offsets[2])) == []
    path.write_bytes(whole)
    assert [(row["step"], offset) for row, offset in tail(path, seen[-1][1])] == [(2, offsets[3])]


def test_a_line_that_grows_while_it_is_read_is_not_damaged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = write_steps(path, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[1] + 5])
    intact = journal_module.verify_crc

    def intact_while_the_writer_goes_on(line: bytes) -> bytes | None:
        if line == whole[offsets[1] : offsets[1] + 5]:
            path.write_bytes(whole)
        return intact(line)

    monkeypatch.setattr(journal_module, "verify_crc", intact_while_the_writer_goes_on)
    assert steps(path) == [0]


def test_a_newer_schema_is_refused_by_reader_and_writer(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append("run", schema=SCHEMA + 1)
    with pytest.raises(NotFoundError, match=f"schema {SCHEMA + 1}.*upgrade"):
        list(read(path))
    with pytest.raises(NotFoundError, match="upgrade"):
        Journal.open(path)


def test_no_journal_is_said_so(path: Path) -> None:
    with pytest.raises(NotFoundError, match="missing; restore it"):
        list(read(path))
    assert writer_pid(path) is None


def test_a_second_writer_is_refused_until_the_first_is_killed(path: Path) -> None:
    with writer(path) as process:
        started = time.strftime("%H:%M", time.localtime(path.with_name("events.ndjson.lock").stat().st_mtime))
        assert writer_pid(path) == process.pid
        with pytest.raises(BusyError, match=f"run mnist-001 is being written by pid {process.pid} since {started};"):
            Journal.open(path)
        assert writer_pid(path) == process.pid
        process.kill()
        process.wait()
        assert writer_pid(path) is None
        with Journal.open(path):
            assert writer_pid(path) == os.getpid()


def test_one_who_asks_for_the_writer_is_not_taken_for_it(path: Path) -> None:
    write_steps(path, 1)
    with path.with_name("events.ndjson.lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert writer_pid(path) is None
        timer = threading.Timer(0.05, fcntl.flock, (asking, fcntl.LOCK_UN))
        timer.start()
        with Journal.open(path):
            assert writer_pid(path) == os.getpid()
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
