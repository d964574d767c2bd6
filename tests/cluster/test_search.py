"""`--search optuna` proposes new settings, and finds those that are trained on disk."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from afdctl import recipe
from afdctl.cluster.cells import CellRun
from afdctl.errors import RecipeError
from afdctl.recipe.grid import Grid, parse
from afdctl.runs.run import Run

pytest.importorskip("optuna")
from afdctl.cluster.search import Search


def search(root: Path, *axes: str, trials: int = 3, seeds: tuple[int, ...] = ()) -> Search:
    return Search(Grid("digits_nt", ["model.width=4"], parse(axes)), seeds, root, trials)


def train(cell: CellRun, accuracy: float = 0.5, reason: str = "finished") -> None:
    """Make the run of a cell as a training does, as far as a search reads it."""
    if cell.run.path.exists():
        return
    text = recipe.dump(cell.cell.recipe)
    run = Run.create(cell.run.path.parent, "x", text, {"kind": "trained"}, name=cell.run.name)
    with run.open_journal() as journal:
        row = {"epoch": 1, "step": 1, "best": True, "acc_nat": 0.9, "n": 100, "seconds": 1.0}
        journal.append("epoch", **row, acc_adv=accuracy)
        journal.append("end", step=1, reason=reason, exit_code=0, message=None)


def trained(batches: Iterator[list[CellRun]], **ends: object) -> list[str]:
    names = []
    for cell in chain.from_iterable(batches):
        names.append(cell.run.name)
        train(cell, **ends)
    return names


RANGES = ("defense.lr_C=log:0.01..1.0", "train.epochs=2..9", "defense.label_smoothing=0,0.1")


def test_it_proposes_as_many_settings_as_trials_within_their_ranges(tmp_path: Path):
    cells = list(chain.from_iterable(search(tmp_path, *RANGES, trials=6).batches()))
    assert len({cell.run.name for cell in cells}) == 6
    for cell in cells:
        assert 0.01 <= cell.cell.recipe.defense.lr_C <= 1
        assert 2 <= cell.cell.recipe.train.epochs <= 9
        assert cell.cell.recipe.defense.label_smoothing in (0, 0.1)


def test_trained_settings_are_found_on_disk_and_count(tmp_path: Path):
    first = trained(search(tmp_path, *RANGES).batches())
    other = next(chain.from_iterable(search(tmp_path / "other", *RANGES).batches()))
    train(CellRun(other.cell, Run(tmp_path / "digits_nt-00000000")))
    again = search(tmp_path, *RANGES, trials=5)
    assert sorted(value for trial in again.study.trials for value in trial.values) == [0.5] * 3
    names = trained(again.batches())
    assert names[:3] == first
    assert len(set(names)) == 5
    assert trained(search(tmp_path, *RANGES, trials=5).batches()) == names


def test_several_are_proposed_at_once_and_counted_when_they_are_trained(tmp_path: Path):
    made = search(tmp_path, *RANGES, trials=5)
    sizes = []
    for batch in made.batches(2):
        sizes.append(len(batch))
        states = [trial.state.name for trial in made.study.trials]
        assert states.count("RUNNING") == len(batch)
        for cell in batch:
            train(cell)
    assert sizes == [0, 2, 2, 1]
    assert [trial.value for trial in made.study.trials] == [0.5] * 5


def test_it_ends_when_all_values_are_tried(tmp_path: Path):
    assert len(trained(search(tmp_path, "train.epochs=1,2", "defense.lr_C=0.1,0.2", trials=9).batches())) == 4


def test_every_seed_is_trained_and_a_diverged_one_counts_as_zero(tmp_path: Path):
    made = search(tmp_path, RANGES[0], trials=1, seeds=(0, 1))
    for cell in chain.from_iterable(made.batches()):
        train(cell, 0.8, "diverged" if cell.cell.recipe.seed else "finished")
    assert [trial.value() for trial in made.known.values()] == [0.4]
    assert made.study.trials[-1].value == 0.4


def test_what_decides_the_measurement_is_not_searched(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"--search: attack.epsilon decides how"):
        search(tmp_path, "attack.epsilon=0.1,0.2")


def test_every_value_is_checked_before_anything_is_trained(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"--grid train.epochs = \"many\": must be a whole number"):
        search(tmp_path, "defense.lr_C=0.1..1.0", "train.epochs=1,many")
    with pytest.raises(RecipeError, match=r"--grid defense.lr_G: no such key"):
        search(tmp_path, "defense.lr_G=0.1..1.0")
