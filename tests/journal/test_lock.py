"""The lock says which process writes, on which host and boot; no other process gets its signals."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from afdctl.errors import BusyError
from afdctl.journal import Journal, check_not_busy, current_writer, signal_writer, unreachable
from afdctl.journal.writer import boot_id, lock_path
from tests.journals import sealed

Rewrite = Callable[..., None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist-001"
    folder.mkdir()
    return folder / "events.ndjson"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that are sent."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


@pytest.fixture
def rewrite(path: Path) -> Iterator[Rewrite]:
    """Change fields of the lock while the journal is open."""
    with Journal.open(path):
        text = lock_path(path).read_text()

        def changed(**fields: Any) -> None:
            row = {key: value for key, value in json.loads(text).items() if key != "crc"} | fields
            lock_path(path).write_bytes(sealed(json.dumps(row).encode()))

        yield changed


def test_it_holds_pid_host_and_boot_and_is_empty_afterwards(path: Path):
    with Journal.open(path):
        row = json.loads(lock_path(path).read_text())
        assert (row["pid"], row["host"], row["boot"]) == (os.getpid(), os.uname().nodename, boot_id())
        writer = current_writer(path)
        assert writer
        assert (writer.pid, writer.host, writer.is_local) == (os.getpid(), os.uname().nodename, True)
    assert lock_path(path).read_bytes() == b""
    assert current_writer(path) is None


def test_the_boot_id_is_that_of_the_kernel():
    file = Path("/proc/sys/kernel/random/boot_id")
    assert boot_id() == (file.read_text().strip() if file.exists() else "")


def test_a_local_writer_gets_the_signal(path: Path, sent: list[tuple[int, int]]):
    assert signal_writer(path, signal.SIGTERM) is None
    with Journal.open(path):
        writer = signal_writer(path, signal.SIGTERM)
        assert writer
        assert sent == [(os.getpid(), signal.SIGTERM)]


def test_a_name_that_a_killed_process_left_is_no_writer(path: Path, sent: list[tuple[int, int]]):
    lock_path(path).write_bytes(sealed(b'{"event":"lock","pid":1,"host":"b","boot":"c"}'))
    assert current_writer(path) is None
    assert signal_writer(path, signal.SIGTERM) is None
    check_not_busy(path)
    with Journal.open(path):
        assert current_writer(path).pid == os.getpid()  # type: ignore[union-attr]
    assert sent == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pid": 12, "host": "b"}, "written by pid 12 on host b; stop it there"),
        ({"pid": 12, "host": "b", "boot": "c"}, "written by pid 12 on host b; stop it there"),
        (
            {"pid": 12, "boot": "c"},
            f"written by pid 12 of another machine or container named {os.uname().nodename}; stop it there",
        ),
        ({"pid": 0}, "written by an unknown process"),
        ({"pid": -1}, "written by an unknown process"),
        ({"pid": 1 << 40}, "written by an unknown process"),
        ({"pid": "12"}, "written by an unknown process"),
    ],
)
def test_a_writer_elsewhere_is_named_and_never_gets_a_signal(
    path: Path, rewrite: Rewrite, sent: list[tuple[int, int]], fields: dict[str, Any], reason: str
):
    rewrite(**fields)
    writer = current_writer(path)
    assert writer
    assert not writer.is_local
    assert unreachable(writer).startswith(reason)
    with pytest.raises(BusyError, match=f"^{reason}"):
        signal_writer(path, signal.SIGTERM)
    assert sent == []
    with pytest.raises(BusyError) as busy:
        Journal.open(path)
    assert "kill" not in str(busy.value)
    who, _, remedy = unreachable(writer).partition("; ")
    assert f"is being {who} since " in str(busy.value)
    assert str(busy.value).endswith(f" shows it, {remedy}")


def test_any_flipped_bit_of_the_lock_leaves_no_process_to_signal(path: Path, sent: list[tuple[int, int]]):
    with Journal.open(path):
        file = lock_path(path)
        whole = file.read_bytes()
        for position in range(len(whole)):
            for bit in range(8):
                damaged = bytearray(whole)
                damaged[position] ^= 1 << bit
                file.write_bytes(damaged)
                with pytest.raises(BusyError, match="unknown process"):
                    signal_writer(path, signal.SIGTERM)
    assert sent == []
