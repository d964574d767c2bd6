"""HDF5 files written in bounded memory, and on full disks."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from afdctl.errors import DiskFullError
from afdctl.runs import hdf5
from tests.journals import steps, written

Full = Callable[[int], AbstractContextManager[None]]


def rows(count: int) -> list[dict[str, Any]]:
    """Rows some of which are the first to name a metric, and one of which lacks some."""
    made: list[dict[str, Any]] = [{"event": "x", "step": number, "a": number / 2} for number in range(count)]
    for row in made[count // 3 :]:
        row |= {"late": 1.5 * row["step"], "word": f"w{row['step']}"}
    made[-2] = {"event": "x", "epoch": 3}
    return made


def test_a_table_made_in_pieces_is_the_table_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = []
    for at_once in (4096, 100, 7, 1):
        monkeypatch.setattr(hdf5, "BATCH_ROWS", at_once)
        path = tmp_path / f"{at_once}.h5"
        with hdf5.writing(path) as file:
            hdf5.add_table(file, "/a/table", rows(100))
        with h5py.File(path) as file:
            assert list(file) == ["a"]
            assert list(file["a"]) == ["table"]
            made.append(file["a/table"][:])
    assert made[0].dtype.names == ("step", "a", "late", "word", "epoch")
    assert made[0][0].tolist()[0] == 0
    assert np.isnan(made[0]["late"][0])
    assert (made[0]["word"][0], made[0]["word"][50], made[0]["step"][-2], made[0]["epoch"][0]) == (b"", b"w50", -1, -1)
    for other in made[1:]:
        assert other.dtype == made[0].dtype
        for name in other.dtype.names:
            np.testing.assert_array_equal(other[name], made[0][name])


def test_no_rows_make_an_empty_table(tmp_path: Path):
    with hdf5.writing(tmp_path / "a.h5") as file:
        hdf5.add_table(file, "table", [])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["table"].shape == (0,)


def test_a_disk_that_is_full_at_any_byte_is_an_error(tmp_path: Path, full_beyond: Full):
    path = tmp_path / "a.h5"

    def write() -> None:
        with hdf5.writing(path) as file:
            hdf5.add_table(file, "table", rows(5000))
            for number in range(5):
                file.create_group(f"group {number}").attrs["note"] = "x" * 1000

    write()
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        with full_beyond(place), pytest.raises(DiskFullError, match=r"a\.h5: File too large"):
            write()
        assert path.read_bytes() == whole
        assert list(tmp_path.iterdir()) == [path]
    write()
    assert path.read_bytes() == whole


def test_another_error_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), hdf5.writing(path) as file:
        raise KeyError(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


PEAK = """
import sys
from pathlib import Path
from afdctl.runs import results
from afdctl.runs.run import Run
results.build(Run(Path(sys.argv[1])))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not report peak memory here")
def test_the_memory_of_results_does_not_grow_with_a_run(tmp_path: Path):
    """Peak memory in kB: a row takes 3 kB in memory."""
    peaks = []
    for name, count in (("short", 5000), ("long", 60_000)):
        run = written(tmp_path, name, steps(1, count))
        found = subprocess.run([sys.executable, "-c", PEAK, run.path], capture_output=True, text=True, check=True)
        peaks.append(int(found.stdout))
    assert peaks[1] - peaks[0] < 10_000
