"""Steps in blocks, in full, and thinned."""

import json
import os
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from afdctl.errors import CorruptError
from afdctl.journal import Journal, JournalCache, JournalOutline, JournalReader, Steps
from afdctl.journal import cache as cache_module
from afdctl.journal import outline as outline_module
from afdctl.journal.rows import CRC_MEMBER

Rows = list[dict[str, Any]]


def step(number: int, **metrics: Any) -> dict[str, Any]:
    return {"event": "step", "step": number, "epoch": 1, "L_C": number / 7} | metrics


def epoch(number: int, at: int) -> dict[str, Any]:
    return {"event": "epoch", "step": at, "epoch": number, "best": True}


def resumed(at: int) -> dict[str, Any]:
    totals = {"epochs": 1, "steps_per_epoch": 9, "steps_total": 9}
    return {"event": "resume", "step": at, "epoch": 0} | totals


def write(path: Path, rows: Rows) -> Path:
    with Journal.open(path) as journal:
        journal.extend(rows)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"lr_C": 1e-07},
        {"L_D": float("nan"), "grad_C": -1e300},
        {'my "loss", {a}': 1, "ε": 2},
        {"a.b+": 0},
        {"flag": True},
    ],
)
def test_blocks_hold_what_the_rows_hold(path: Path, odd: dict[str, Any]) -> None:
    rows = [*map(step, range(1, 5)), step(5) | odd, step(6) | odd, epoch(1, 6), *map(step, range(7, 9))]
    outline = JournalOutline(write(path, rows))
    written = [json.loads(line) for line in path.read_text().splitlines()]
    expected = [{key: value for key, value in row.items() if key != "crc"} for row in written]
    assert list(outline.read()) == expected
    blocks = [block for block in outline.read_blocks() if isinstance(block, Steps)]
    assert [row for block in blocks for row in block.rows()] == [
        row for row in expected if row["event"] == "step" and "flag" not in row
    ]


def test_blocks_are_bounded_and_leave_superseded_steps_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline_module, "BLOCK_BYTES", 1 << 14)
    rows = [*map(step, range(1, 2001)), resumed(1500), *map(step, range(1501, 1601)), resumed(1600), step(1601)]
    blocks = list(JournalOutline(write(path, rows)).read_blocks(["step"]))
    assert len(blocks) > 5
    assert all(isinstance(block, Steps) and len(block.lines) < 2 << 14 for block in blocks)
    steps = [row["step"] for block in blocks if isinstance(block, Steps) for row in block.rows()]
    assert steps == [*range(1, 1602)]


def test_a_step_with_a_text_is_damage_in_blocks_too(path: Path) -> None:
    write(path, [step(1), step(2, L_C="high"), step(3)])
    with pytest.raises(CorruptError, match="not a number"):
        list(JournalOutline(path).read_blocks(["step"]))


@pytest.mark.parametrize(
    ("texts", "message"),
    [([b'{"event":"step"'], "no valid t"), ([b'{"event":"foo","t":1', b'{"event":"step","t":1'], "no valid step")],
)
def test_a_step_without_its_fields_is_damage(path: Path, texts: list[bytes], message: str) -> None:
    # before an intact step, as opening a journal checks only the last of consecutive ones
    intact = write(path, [step(1)]).read_bytes()
    path.write_bytes(b"".join(text + CRC_MEMBER % crc32(text) for text in texts) + intact)
    outline = JournalOutline(path)
    with pytest.raises(CorruptError, match=message):
        list(outline.read())


def test_a_gap_keeps_ends_and_values_that_are_not_finite(path: Path) -> None:
    rows = [*map(step, range(1, 500)), step(500, L_C=float("nan")), *map(step, range(501, 999)), epoch(1, 998)]
    write(path, rows)
    line = path.stat().st_size // 1000
    steps = [row["step"] for _, row in JournalReader(path, step_gap=100 * line).read_all() if row["event"] == "step"]
    assert 8 <= len(steps) <= 14
    assert {500, 998} <= set(steps)


def test_a_process_reads_a_journal_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "CHUNK", 0)
    write(path, [*map(step, range(1, 5))])
    first = JournalCache.of(path).refresh()
    monkeypatch.setattr(JournalReader, "read", None)
    assert JournalCache.of(path).refresh() is first


@pytest.mark.parametrize("change", ["append", "damage", "replace", "truncate", "same size"])
def test_a_changed_journal_is_read_again(path: Path, change: str) -> None:
    write(path, [*map(step, range(1, 5)), epoch(1, 4)])
    os.utime(path, (time.time() - 100,) * 2)
    cache = JournalCache.of(path)
    cache.refresh()
    data = path.read_bytes()
    if change == "append":
        write(path, [epoch(2, 4)])
        assert [row["epoch"] for row in cache.of_event("epoch")] == [1, 2]
    elif change == "damage":
        path.write_bytes(data.replace(b'"step":2', b'"step":3', 1))
        with pytest.raises(CorruptError, match=r"events\.ndjson:2: damaged"):
            cache.refresh()
        path.write_bytes(data)
        assert len(cache.of_event("epoch")) == 1
    elif change == "replace":
        path.unlink()
        write(path, [*map(step, range(11, 99)), epoch(7, 99)])
        assert [row["epoch"] for row in cache.of_event("epoch")] == [7]
    elif change == "truncate":
        path.write_bytes(data[:-5])
        assert cache.of_event("epoch") == []
    else:
        path.write_bytes(write(path.with_name("other"), [*map(step, range(1, 5)), epoch(9, 4)]).read_bytes())
        assert [row["epoch"] for row in cache.of_event("epoch")] == [9]
