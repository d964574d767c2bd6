"""results.h5 holds what the journal holds, and is written in bounded memory and on full disks."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from afdctl.errors import DiskFullError, NotFoundError
from afdctl.journal import SCHEMA, JournalOutline
from afdctl.runs import results_file, results_tables, shards
from afdctl.runs.run import RESULTS_BEGIN, Run
from tests.journals import resumed, run_row, steps, written

Rows = list[dict[str, Any]]
Full = Callable[[int], AbstractContextManager[None]]


def step(number: int) -> dict[str, Any]:
    return {"event": "step", "step": number, "epoch": (number + 9) // 10, "L_C": 1 / number, "L_D": None}


def epoch(number: int) -> dict[str, Any]:
    return {
        "event": "epoch",
        "epoch": number,
        "step": 10 * number,
        "acc_nat": number / 10,
        "acc_adv": 0.0,
        "best": True,
    }


def end(number: int, reason: str) -> dict[str, Any]:
    return {"event": "end", "step": number, "reason": reason, "exit_code": 0, "message": None}


def write(run: Run, rows: Rows) -> Path:
    with run.open_journal() as journal:
        journal.extend([run_row(), *rows])
    return results_file.build(run)


def content(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    tables: dict[str, np.ndarray[Any, Any]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: tables.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        return tables, dict(file.attrs)


def without_t(table: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return table[[name for name in table.dtype.names or () if name != "t"]]


def assert_same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    """Equal in names, types and every bit, except that text is compared as text."""
    assert [(name, kind) for name, (kind, _) in (one.dtype.fields or {}).items()] == [
        (name, kind) for name, (kind, _) in (other.dtype.fields or {}).items()
    ]
    for name in one.dtype.names or ():
        np.testing.assert_array_equal(one[name], other[name], strict=True)


ACCURACIES = {"acc_nat": 0.5, "acc_adv": 0.25, "n": 7, "attack": "PGD-40 linf 0.3"}
TESTS: Rows = [
    {"event": "test", "step": 10, "checkpoint": "last", "checkpoint_step": 10, **ACCURACIES},
    {"event": "test", "step": 10, "checkpoint": "best", "checkpoint_step": 5, **ACCURACIES, "acc_square": 0.125},
]


def test_tables_hold_the_rows_in_the_order_of_their_first_names(run: Run) -> None:
    second = {"event": "step", "step": 2, "epoch": 1, "L_D": 4.0, "new": 1}
    tables, _ = content(write(run, [step(1), second, epoch(1), *TESTS]))
    steps, epochs, tests = (tables[f"train/{name}"] for name in ("steps", "epochs", "tests"))
    assert steps.dtype.names == ("t", "step", "epoch", "L_C", "L_D", "new")
    assert [steps.dtype[name] for name in steps.dtype.names] == [np.float64, np.int64, np.int64, *[np.float64] * 3]
    np.testing.assert_equal(without_t(steps).tolist(), [(1, 1, 1.0, np.nan, np.nan), (2, 1, np.nan, 4.0, 1.0)])
    assert without_t(epochs).tolist() == [(1, 10, 0.1, 0.0, 1.0)]
    np.testing.assert_equal(
        without_t(tests).tolist(),
        [
            (10, b"last", 10.0, 0.5, 0.25, 7.0, b"PGD-40 linf 0.3", np.nan),
            (10, b"best", 5.0, 0.5, 0.25, 7.0, b"PGD-40 linf 0.3", 0.125),
        ],
    )
    assert steps["t"][0] > 1.6e9


def test_a_run_without_rows_has_empty_tables(run: Run) -> None:
    tables, attributes = content(write(run, []))
    assert {name: table.shape for name, table in tables.items()} == {
        "train/steps": (0,),
        "train/epochs": (0,),
        "train/tests": (0,),
    }
    assert not attributes["complete"]


def test_attributes_say_where_the_figures_come_from(run: Run) -> None:
    path = write(run, [step(1), end(1, "finished")])
    journal = run.journal_path.read_bytes()
    with run.journal_path.open("ab") as file:
        file.write(b'{"event":"st')
    assert results_file.build(run) == path == run.results_path
    assert content(path)[1] == {
        "schema": SCHEMA,
        "name": "toy-001",
        "complete": True,
        "device": "cpu",
        "torch": '{"version": "2.11"}',
        "git": "null",
        "recipe": "seed = 0\n",
        "recipe_digest": sha256(b"seed = 0\n").hexdigest(),
        "log_offset": len(journal),
        "log_sha256": sha256(journal).hexdigest(),
    }
    assert path.read_bytes().startswith(RESULTS_BEGIN % len(journal))
    assert run.results_journal_size == len(journal)


@pytest.mark.parametrize("reason", ["stopped", "diverged", "failed"])
def test_only_a_finished_run_is_complete(run: Run, reason: str) -> None:
    assert not content(write(run, [step(1), end(1, reason)]))[1]["complete"]
    assert not content(write(run, [end(1, "finished"), resumed(1, 0)]))[1]["complete"]


def test_a_rebuilt_file_equals_the_original(run: Run) -> None:
    path = write(run, [*map(step, range(1, 1001)), *map(epoch, range(1, 101)), *TESTS, end(1000, "finished")])
    tables, attributes = content(path)
    path.unlink()
    again, attributes_again = content(results_file.build(run))
    assert attributes == attributes_again
    assert list(tables) == list(again) == ["train/epochs", "train/steps", "train/tests"]
    for name, table in tables.items():
        assert_same(table, again[name])


def mark(path: Path) -> None:
    """Change a step of results.h5, which shows whether the next build copies it."""
    with h5py.File(path, "r+") as file:
        rows = file["train/steps"][:1]
        rows["L_C"] = 42
        file["train/steps"][:1] = rows


@pytest.mark.parametrize(
    ("more", "copied"),
    [
        ([*map(step, range(21, 30)), epoch(3)], True),
        ([step(21) | {"L_new": 0.5}], True),
        ([epoch(2)], True),
        ([resumed(10, 1), *map(step, range(11, 15))], False),
    ],
)
def test_a_file_of_a_journal_that_grew_copies_the_steps_that_it_has(run: Run, more: Rows, copied: bool) -> None:
    path = write(run, [*map(step, range(1, 21)), epoch(1)])
    mark(path)
    with run.open_journal() as journal:
        journal.extend(more)
    tables, _ = content(results_file.build(run))
    assert (42 in tables["train/steps"]["L_C"]) == copied
    anew, _ = content(results_file.build(run, anew=True))
    assert anew["train/steps"]["L_C"][0] == 1
    tables["train/steps"]["L_C"][0] = 1
    assert_same(tables["train/steps"], anew["train/steps"])


def test_no_step_of_another_journal_is_copied(run: Run) -> None:
    mark(write(run, [*map(step, range(1, 21))]))
    run.journal_path.unlink()
    tables, _ = content(write(run, [*map(step, range(2, 40))]))
    assert tables["train/steps"]["step"].tolist() == [*range(2, 40)]
    assert 42 not in tables["train/steps"]["L_C"]


def test_damaged_steps_are_not_copied(run: Run) -> None:
    path = write(run, [*map(step, range(1, 21))])
    with h5py.File(path) as file:
        place = file["train/steps"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[place + 20] ^= 1
    path.write_bytes(damaged)
    tables, _ = content(write(run, [step(21)]))
    assert tables["train/steps"]["step"].tolist() == [*range(1, 22)]


BUILD_OFTEN = """
import sys
from pathlib import Path
from afdctl.runs import results_file
from afdctl.runs.run import Run
for _ in range(20):
    results_file.build(Run(Path(sys.argv[1])))
"""


def test_steps_of_several_chunks_are_copied_in_their_own_memory(run: Run) -> None:
    """HDF5 2.0.0 ends the interpreter within a few copies if the chunks are in its cache."""
    write(run, [{**step(number), **{f"L_{name}": 1 / number for name in "abcd"}} for number in range(1, 601)])
    assert subprocess.run([sys.executable, "-c", BUILD_OFTEN, str(run.path)], check=False).returncode == 0
    tables, _ = content(run.results_path)
    assert tables["train/steps"]["step"].tolist() == [*range(1, 601)]


def interrupted() -> Rows:
    """Thirty steps with two kills and a stop in between."""
    first = [*map(step, range(1, 11)), epoch(1), *map(step, range(11, 18))]
    second = [resumed(15, 1), *map(step, range(16, 19)), end(18, "stopped")]
    third = [resumed(10, 1), *map(step, range(11, 21)), epoch(2)]
    return first + second + third + [*map(step, range(21, 31)), epoch(3), *TESTS, end(30, "finished")]


def test_a_resumed_run_has_the_results_of_one_that_was_never_stopped(run: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path / "other", "toy", run.recipe_text, run.provenance)
    rows = [row for number in (1, 2, 3) for row in [*map(step, range(10 * number - 9, 10 * number + 1)), epoch(number)]]
    straight, attributes = content(write(other, [*rows, *TESTS, end(30, "finished")]))
    resumed, attributes_resumed = content(write(run, interrupted()))
    for name, table in straight.items():
        assert_same(without_t(table), without_t(resumed[name]))
    assert attributes["complete"]
    assert attributes_resumed["complete"]


def test_a_missing_journal_is_reported(run: Run) -> None:
    run.journal_path.unlink()
    with pytest.raises(NotFoundError, match="missing; restore it"):
        results_file.build(run)


def test_an_open_reader_keeps_what_it_opened(run: Run) -> None:
    with h5py.File(write(run, [step(1)])) as file:
        write(run, [step(2)])
        assert file["train/steps"]["step"].tolist() == [1]
    assert content(run.results_path)[0]["train/steps"]["step"].tolist() == [1, 2]


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
        monkeypatch.setattr(results_tables, "BATCH_ROWS", at_once)
        path = tmp_path / f"{at_once}.h5"
        with shards.writing_hdf5(path) as file:
            results_tables.add_table(file, "/a/table", rows(100))
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
    with shards.writing_hdf5(tmp_path / "a.h5") as file:
        results_tables.add_table(file, "table", [])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["table"].shape == (0,)


def test_a_disk_that_is_full_at_any_byte_is_an_error(tmp_path: Path, full_beyond: Full):
    path = tmp_path / "a.h5"

    def write() -> None:
        with shards.writing_hdf5(path) as file:
            results_tables.add_table(file, "table", rows(5000))
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
    with pytest.raises(KeyError), shards.writing_hdf5(path) as file:
        raise KeyError(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


PEAK = """
import sys
from pathlib import Path
from afdctl.runs import results_file
from afdctl.runs.run import Run
results_file.build(Run(Path(sys.argv[1])))
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


def test_reading_steps_reads_only_the_part_of_the_journal_that_they_are_from(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, [step(1), step(2)])
    size = run.results_journal_size
    with run.open_journal() as journal:
        journal.extend([step(3)])
    asked: list[int] = []
    compute = results_file._digests
    monkeypatch.setattr(results_file, "_digests", lambda path, sizes: asked.extend(sizes) or compute(path, sizes))
    tables = list(results_file.step_tables(run, JournalOutline(run.journal_path)))
    assert [table["step"].tolist() for table in tables] == [[1, 2], [3]]
    assert asked == [size]
