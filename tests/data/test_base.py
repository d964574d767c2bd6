import errno
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from afdctl.data import base
from afdctl.data.base import move, search_path, staging
from afdctl.errors import DataMissingError, DiskFullError


def test_the_option_wins_over_the_environment_and_that_over_the_cache(own_cache, monkeypatch):
    assert search_path() == (own_cache,)
    monkeypatch.setenv("AFDCTL_DATA", "/from/environment")
    assert search_path() == (Path("/from/environment"), own_cache)
    assert search_path(path=Path("/of/the/recipe")) == (Path("/of/the/recipe"), own_cache)
    assert search_path(Path("/from/option"), path=Path("/of/the/recipe")) == (Path("/from/option"), own_cache)
    assert search_path(own_cache) == (own_cache,)


def test_a_run_looks_where_its_data_were_and_then_elsewhere(own_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("AFDCTL_DATA", "/from/environment")
    recorded, path, rest = tmp_path / "recorded", tmp_path / "path", (Path("/from/environment"), own_cache)
    assert search_path(path=path, recorded=recorded) == rest
    recorded.mkdir()
    assert search_path(path=path, recorded=recorded) == (recorded, *rest)
    path.mkdir()
    assert search_path(path=path, recorded=recorded) == (recorded, path, *rest)
    assert search_path(Path("/from/option"), recorded=recorded) == (Path("/from/option"), own_cache)


def test_without_xdg_the_cache_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert search_path() == (Path("/home/ada/.cache/afdctl/data"),)
    assert search_path(Path("~/sets"))[0] == Path("/home/ada/sets")


def test_staging_leaves_nothing_behind(tmp_path):
    with staging([tmp_path / "new"]) as (root, folder):
        (folder / "part").write_text("half")
        assert list(root.iterdir()) == [folder]
    assert root == tmp_path / "new"
    assert not root.exists()


def test_only_the_folders_that_staging_made_are_removed(tmp_path):
    with suppress(OSError), staging([tmp_path / "new" / "data"]):
        raise OSError("Name or service not known")
    assert list(tmp_path.iterdir()) == []
    with staging([tmp_path / "new" / "data"]) as (root, folder):
        (folder / "part").write_text("whole")
        move(folder / "part", root / "part")
    assert [path.name for path in root.iterdir()] == ["part"]
    kept = tmp_path / "kept"
    kept.mkdir()
    with staging([kept]):
        pass
    assert kept.exists()


def test_a_root_that_cannot_be_used_leaves_nothing(tmp_path, monkeypatch):
    too_long, good = tmp_path / ("x" * 300), tmp_path / "good"
    with staging([too_long, good]) as (root, _):
        assert root == good
    monkeypatch.setattr(base, "TemporaryDirectory", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(DataMissingError), staging([tmp_path / "new" / "data"]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataMissingError, match=f"cannot write to {tmp_path}/file"), staging([tmp_path / "file"]):
        pass


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(DiskFullError, match=f"disk full while writing to {tmp_path}"), staging([tmp_path]):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path):
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    move(tmp_path / "mine", tmp_path / "theirs")
    assert (tmp_path / "theirs/file").read_text() == "theirs"
