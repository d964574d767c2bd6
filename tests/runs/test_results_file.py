"""results.h5 holds what the journal holds."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from afdctl.errors import NotFoundError
from afdctl.journal import SCHEMA
from afdctl.runs import results_file
from afdctl.runs.run import Run
from tests.journals import resumed, run_row

Rows = list[dict[str, Any]]


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
