"""The lock says which process writes, on which host and boot; no other process gets its signals."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from afdctl.errors import BusyError
from afdctl.journal import Journal, Writer, check_not_busy, claim, current_writer, lock, signal_writer, unreachable
from afdctl.journal.lock import lock_path
from afdctl.journal.writing_process import boot_id, process_exists
from afdctl.runs.status import StatusTracker
from tests.cli.trainings import wait_for
from tests.journals import sealed

Rewrite = Callable[..., None]

NAMESPACES = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-Urpf", "true"], capture_output=True).returncode != 0,
    reason="needs namespaces",
)


def no_flock(*_: object) -> None:
    """Do nothing, as flock does on some shared file systems."""


def unsupported(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSYS, "not implemented")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist-001"
    folder.mkdir()
    return folder / "events.ndjson"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that are sent; signal 0 only asks whether a process exists."""
    signals: list[tuple[int, int]] = []
    ask = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)) if number else ask(pid, number))
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such files")
def test_the_boot_id_is_that_of_the_kernel_and_the_namespace(monkeypatch: pytest.MonkeyPatch):
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # such as pid:[4026531836]
    namespace = os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")
    assert boot_id() == f"{kernel}-{namespace}"
    monkeypatch.setattr(os, "stat", unsupported)
    assert boot_id() == kernel


@pytest.fixture(scope="module")
def other_container() -> str:
    """The boot id of a container that shares the host's name and kernel."""
    program = "from afdctl.journal.writing_process import boot_id; print(boot_id())"
    command = ["unshare", "-Urpf", sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@NAMESPACES
@pytest.mark.parametrize("flock", [no_flock, unsupported])
def test_without_flock_a_container_with_the_host_s_name_and_boot_is_another_one(
    path: Path, other_container: str, monkeypatch: pytest.MonkeyPatch, flock: Callable[..., None]
):
    monkeypatch.setattr(lock.fcntl, "flock", flock)
    row = {"event": "lock", "pid": os.getpid(), "host": os.uname().nodename, "boot": other_container}
    lock_path(path).write_bytes(sealed(json.dumps(row).encode()))
    assert current_writer(path)
    with pytest.raises(BusyError, match="of another machine or container"):
        Journal.open(path)
    path.with_name("events.ndjson.claim").symlink_to(f"token {os.getpid()} {other_container} {os.uname().nodename}")
    with pytest.raises(BusyError), claim.sole_claimant(path, 0, lambda: BusyError("")):
        pass


@NAMESPACES
def test_a_container_that_is_started_again_takes_the_lock_of_the_one_before_at_once(path: Path, other_container: str):
    """It has the same kernel and perhaps another name, and flock says that the process before it has ended."""
    for host in (os.uname().nodename, "b"):
        row = {"event": "lock", "pid": 7, "host": host, "boot": other_container}
        lock_path(path).write_bytes(sealed(json.dumps(row).encode()))
        assert current_writer(path) is None
        check_not_busy(path)
        with Journal.open(path):
            pass


def test_a_local_writer_gets_the_signal(path: Path, sent: list[tuple[int, int]]):
    assert signal_writer(path, signal.SIGTERM) is None
    with Journal.open(path):
        writer = signal_writer(path, signal.SIGTERM)
        assert writer
        assert sent == [(os.getpid(), signal.SIGTERM)]


def test_a_name_that_a_killed_process_left_is_no_writer(path: Path, sent: list[tuple[int, int]]):
    row = {"event": "lock", "pid": 2**22 + 1, "host": os.uname().nodename, "boot": boot_id()}
    lock_path(path).write_bytes(sealed(json.dumps(row).encode()))
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
    assert str(busy.value).endswith(f"; `afdctl watch {path.parent}` shows it, {remedy}")


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


# a process that claims a journal as the host named in argv[2], with a flock that does nothing
CLAIM = """
import fcntl, os, sys, time
from pathlib import Path
fcntl.flock = lambda *_: None
from afdctl.journal import lock, writing_process
if len(sys.argv) > 2:
    lock.host_name = writing_process.host_name = lambda: sys.argv[2]
from afdctl.errors import BusyError
from afdctl.journal import Journal
print("ready", flush=True)
sys.stdin.readline()
try:
    journal = Journal.open(Path(sys.argv[1]))
except BusyError as error:
    print(error, flush=True)
else:
    print("taken", flush=True)
    sys.stdin.readline()
    journal.close()
"""


@contextmanager
def claimants(path: Path, *hosts: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that wait for a line before they claim the journal, and for another one to release it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", CLAIM, str(path)]
    processes = [subprocess.Popen([*command, *([host] if host else [])], **pipes) for host in hosts]  # type: ignore[call-overload]
    try:
        assert all(process.stdout.readline() == "ready\n" for process in processes)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip()


def test_without_flock_one_of_many_claimants_gets_the_journal(path: Path):
    with claimants(path, "", "", "a", "b", "c") as processes:
        for process in processes:
            go(process)
        answers = [answer(process) for process in processes]
    assert answers.count("taken") == 1
    assert all("is being written by" in text for text in answers if text != "taken")


def test_an_abandoned_claim_is_removed_but_never_the_one_that_replaced_it(path: Path, monkeypatch: pytest.MonkeyPatch):
    link = path.with_name("events.ndjson.claim")
    link.symlink_to("next 2 boot host")
    there: list[bool] = []
    read = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: (there.append(link.is_symlink()), read(path))[1])
    claim._remove(link, "abandoned 1 boot host")
    # not even for a moment
    assert there
    assert all(there)
    claim._remove(link, "next 2 boot host")
    claim._remove(link, "next 2 boot host")
    assert list(path.parent.iterdir()) == []


def test_one_process_alone_removes_an_abandoned_claim_and_may_be_killed_meanwhile(path: Path):
    link = path.with_name("events.ndjson.claim")
    link.symlink_to(f"dead {2**22 + 1} {boot_id()} {os.uname().nodename}")
    removal = link.with_name("events.ndjson.claim.dead")
    removal.symlink_to(f"remover {os.getppid()} {boot_id()} {os.uname().nodename}")
    with pytest.raises(BusyError), claim.sole_claimant(path, 0, lambda: BusyError("")):
        pass
    removal.unlink()
    removal.symlink_to(f"remover {2**22 + 1} {boot_id()} {os.uname().nodename}")
    with claim.sole_claimant(path, time.monotonic() + 5, lambda: BusyError("")):
        assert [file.name for file in path.parent.iterdir()] == [link.name]
    assert list(path.parent.iterdir()) == []


def test_what_a_process_left_that_was_killed_while_it_removed_a_claim_is_removed_by_the_next_one(path: Path):
    left, fresh = (path.with_name(f"events.ndjson.claim.{token}") for token in ("dead", "fresh"))
    left.symlink_to(f"remover {2**22 + 1} {boot_id()} {os.uname().nodename}")
    fresh.symlink_to("remover 12 boot host")
    with Journal.open(path):
        pass
    assert not left.is_symlink()
    assert fresh.is_symlink()


def test_a_claim_that_must_not_be_removed_is_no_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch):
    """As in a folder of several users with the sticky bit."""
    link = path.with_name("events.ndjson.claim")
    link.symlink_to(f"dead {2**22 + 1} {boot_id()} {os.uname().nodename}")
    remove = os.unlink

    def unlink(file: Path) -> None:
        if file == link:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        remove(file)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(PermissionError), claim.sole_claimant(path, 0, lambda: BusyError("")):
        pass
    assert list(path.parent.iterdir()) == [link]


def test_without_links_there_is_no_claim(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "symlink_to", unsupported)
    with claim.sole_claimant(path, 0, lambda: BusyError("")):
        assert list(path.parent.iterdir()) == []


def test_threads_of_a_process_exclude_each_other_and_its_pid_alone_is_that_of_a_dead_one(path: Path):
    free, taken = (claim.sole_claimant(path, 0, lambda: BusyError("")) for _ in range(2))
    with free, pytest.raises(BusyError), taken:
        pass
    path.with_name("events.ndjson.claim").symlink_to(f"token {os.getpid()} {boot_id()} {os.uname().nodename}")
    with claim.sole_claimant(path, time.monotonic() + 5, lambda: BusyError("")):
        pass


def test_a_process_that_has_ended_does_not_exist_although_its_parent_has_not_seen_it():
    process = subprocess.Popen(["true"])
    assert process_exists(os.getpid())
    wait_for(lambda: not process_exists(process.pid))
    process.wait()
    assert not process_exists(process.pid)


def test_without_flock_a_killed_writer_of_this_host_is_no_writer_and_a_released_lock_is_free(path: Path):
    with claimants(path, "", "", "b") as (killed, second, third):
        go(killed)
        assert answer(killed) == "taken"
        killed.kill()
        killed.wait()
        assert current_writer(path) is None
        go(second)
        assert answer(second) == "taken"
        go(second)
        second.wait()
        go(third)
        assert answer(third) == "taken"


def test_a_writer_on_another_host_counts_while_its_heartbeat_moves(
    path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[int, int]]
):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.2)
    elsewhere = sealed(b'{"event":"lock","pid":12,"host":"b","boot":"c"}')
    lock_path(path).write_bytes(elsewhere)
    assert str(current_writer(path)) == "pid 12 on host b"
    with pytest.raises(BusyError, match="on host b"):
        Journal.open(path)
    # by a clock that differs from ours the heartbeat is old, but it moves
    old = time.time() - 1000
    os.utime(lock_path(path), (old, old))
    assert current_writer(path) is None
    beats = threading.Timer(0.1, os.utime, (lock_path(path), (old + 5, old + 5)))
    beats.start()
    with pytest.raises(BusyError, match="on host b"):
        Journal.open(path)
    with Journal.open(path):
        assert current_writer(path).pid == os.getpid()  # type: ignore[union-attr]
    assert sent == []


def test_the_writer_renews_its_lock_and_stops_writing_when_it_was_taken(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with Journal.open(path) as journal:
        os.utime(lock_path(path), (1, 1))
        patience = time.monotonic() + 10
        while lock_path(path).stat().st_mtime == 1:
            assert time.monotonic() < patience
            time.sleep(0.01)
        taken = sealed(b'{"event":"lock","pid":12,"host":"b","boot":"c"}')
        lock_path(path).write_bytes(taken)
        time.sleep(0.2)
        with pytest.raises(BusyError, match="written by pid 12 on host b"):
            journal.append("warning", step=0, message="x")
    # the next writer's name stays
    assert lock_path(path).read_bytes() == taken


def test_a_run_on_another_host_is_running_there(path: Path):
    writer = Writer(pid=12, host="b", boot="c", since=0.0)
    tracker = StatusTracker([{"event": "run", "steps_total": 2}, {"event": "step", "step": 1}])
    assert tracker.status(is_written=True, host=writer.elsewhere) == "running on b"
    assert tracker.status(is_written=False) == "crashed"
    tracker.take({"event": "end", "reason": "finished"})
    assert tracker.status(is_written=True, host=writer.elsewhere) == "finished"
