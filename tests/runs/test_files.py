"""Files are replaced atomically, and temporary files of dead processes are removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from afdctl.runs import files


def test_content_is_replaced_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for content in (b"old, and longer", memoryview(b"new")):
        files.write_bytes(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last"
    files.write_bytes(path, b"old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append((path.read_bytes(), len(list(tmp_path.iterdir())))))
    files.write_bytes(path, b"new")
    assert seen == [(b"old", 2), (b"new", 1)]


def test_only_the_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {pid: tmp_path / f".results.h5.{pid}.tmp" for pid in (dead.pid, os.getpid(), os.getppid(), 1)}
    other = [tmp_path / ".hidden", tmp_path / ".notes.tmp", tmp_path / "results.h5"]
    for path in [*names.values(), *other]:
        path.touch()
    files.remove_stale_temp_files(tmp_path)
    assert set(tmp_path.iterdir()) == {*other, names[os.getppid()], names[1]}
