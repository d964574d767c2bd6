"""Users' files and paths: what is read, and the messages for what is refused."""

import os
from pathlib import Path

import pytest

from afdctl import paths
from afdctl.errors import RecipeError


def test_a_file_is_read_whole(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"content")
    assert paths.read(tmp_path / "x", 7) == b"content"


def test_other_than_regular_or_too_large_files_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"content")
    refused = {
        tmp_path / "x": "has 7 bytes; the limit is 6",
        tmp_path / "pipe": "is a pipe (FIFO), not a regular file",
        tmp_path: "is a folder, not a regular file",
        Path("/dev/zero"): "is a device, not a regular file",
        tmp_path / "nosuch": "No such file or directory",
    }
    for path, reason in refused.items():
        with pytest.raises(OSError, match=r".") as error:
            paths.read(path, 6)
        assert (error.value.strerror, error.value.filename) in [(reason, path), (reason, str(path))]


def test_a_path_is_expanded_as_in_a_shell(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert paths.path("~/x") == Path("/home/ada/x")
    assert paths.path("~nosuch/x") == Path("~nosuch/x")
    assert paths.path("a~") == Path("a~")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\0b", r"'a\\x00b': a path cannot contain a NUL character"),
        ("x/" + "é" * 128, "a name in this path has 256 bytes; the limit is 255"),
        ("x/" * 2048, "a path cannot be longer than 4,095 bytes"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused(text: str, reason: str):
    with pytest.raises(RecipeError, match=reason):
        paths.path(text)
