"""A folder becomes a run when it can be resumed; until then it is removed or used again."""

import shutil
from pathlib import Path

import pytest

from afdctl.errors import BusyError, CorruptError, DiskFullError, NotFoundError, RecipeError
from afdctl.journal import SCHEMA, read_rows
from afdctl.runs.run import Run
from tests.journals import run_row, steps

FACTS = {"device": "cpu"}


def begun(folder: Path) -> Path:
    """Make the files of a training that is killed before its first step."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/step-00000000-0123456789abcdef.pt").write_bytes(b"x")
    (folder / "checkpoints/last").write_text("step-00000000-0123456789abcdef.pt\n")
    (folder / "checkpoints/.best.1.tmp").touch()
    (folder / "recipe.toml").write_text("seed = 0\n")
    (folder / "log.txt").write_text("words\n")
    with Run(folder).open_journal() as journal:
        journal.extend([run_row(), {"event": "warning", "message": "slow"}])
    return folder


def test_a_folder_in_which_nothing_was_trained_is_taken_again(tmp_path: Path):
    begun(tmp_path / "mine")
    begun(tmp_path / "toy-001")
    (tmp_path / "empty").mkdir()
    for name, path in (("mine", "mine"), ("empty", "empty"), (None, "toy-001"), (None, "toy-002")):
        with Run.begin(tmp_path, "toy", name) as (run, journal):
            assert run.path == tmp_path / path
            assert journal.offset == 0
            assert {file.name for file in run.path.iterdir()} == {"events.ndjson", "events.ndjson.lock"}
            run.write_recipe("seed = 1\n")
            run.complete(FACTS)
        assert run.recipe_text == "seed = 1\n"
        assert list(read_rows(run.journal_path)) == []


@pytest.mark.parametrize("more", ["results.h5", "shards", "notes.txt", "checkpoints/step-00000005-0123456789abcdef.pt"])
def test_a_folder_with_anything_else_is_neither_taken_nor_removed(tmp_path: Path, more: str):
    (begun(tmp_path / "mine") / more).mkdir()
    with pytest.raises(RecipeError, match="mine: exists; choose another --name"), Run.begin(tmp_path, "toy", "mine"):
        pass
    assert (tmp_path / "mine" / more).exists()


@pytest.mark.parametrize("file", ["recipe.toml", "log.txt", "checkpoints/step-00000000-x.pt", "notes.tmp"])
def test_a_folder_that_no_training_made_is_neither_taken_nor_removed(tmp_path: Path, file: str):
    path = tmp_path / "mine" / file
    path.parent.mkdir(parents=True)
    path.write_text("the user's own")
    with pytest.raises(RecipeError, match="mine: exists; choose another --name"), Run.begin(tmp_path, "toy", "mine"):
        pass
    assert path.read_text() == "the user's own"


def test_a_run_that_lost_its_run_json_is_listed_and_is_no_newest(tmp_path: Path):
    for name in ("one", "two"):
        with Run.begin(tmp_path, "toy", name) as (run, journal):
            run.write_recipe("")
            run.complete(FACTS)
            journal.extend([run_row(), *steps(1, 3)])
    (tmp_path / "two/run.json").unlink()
    begun(tmp_path / "three")
    assert {run.name for run in Run.all(tmp_path)} == {"one", "two"}
    assert Run.find("latest", tmp_path).name == "one"
    with pytest.raises(CorruptError, match=r"two/run\.json: missing; restore it from a copy"):
        Run.find("two", tmp_path)


def test_a_training_that_lost_its_run_json_is_kept(tmp_path: Path):
    with Run.begin(tmp_path, "toy", "mine") as (run, journal):
        run.write_recipe("")
        run.complete(FACTS)
        journal.extend([run_row(), *steps(1, 3)])
        shutil.rmtree(run.checkpoints)
        (run.path / "run.json").unlink()
    assert [row["event"] for row in read_rows(run.journal_path)] == ["run", "step", "step", "step"]
    with pytest.raises(RecipeError, match="exists"), Run.begin(tmp_path, "toy", "mine"):
        pass


def begin_and_fail(root: Path, *, complete: bool) -> None:
    with Run.begin(root, "toy", "mine") as (run, _):
        run.write_recipe("")
        if complete:
            run.complete(FACTS)
        raise KeyError


def test_an_error_removes_the_folder_until_the_run_is_one(tmp_path: Path):
    for complete, left in ((False, []), (True, [tmp_path / "mine"])):
        with pytest.raises(KeyError):
            begin_and_fail(tmp_path, complete=complete)
        assert list(tmp_path.iterdir()) == left


def test_a_name_that_is_being_begun_is_busy_and_a_number_is_passed_over(tmp_path: Path):
    with Run.begin(tmp_path, "toy", "toy-001"):
        with pytest.raises(BusyError), Run.begin(tmp_path, "toy", "toy-001"):
            pass
        with Run.begin(tmp_path, "toy") as (run, _):
            assert run.name == "toy-002"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_without_a_step_does_not_stop_new_ones(tmp_path: Path):
    Run(begun(tmp_path / "toy-001")).complete(FACTS)
    journal = tmp_path / "toy-001/events.ndjson"
    journal.write_bytes(journal.read_bytes().replace(b'"toy"', b'"tox"') + journal.read_bytes())
    with Run.begin(tmp_path, "toy") as (run, _):
        assert run.name == "toy-002"
    with pytest.raises(RecipeError, match="toy-001: exists"), Run.begin(tmp_path, "toy", "toy-001"):
        pass


def test_a_folder_in_which_nothing_was_trained_is_no_run(tmp_path: Path):
    begun(tmp_path / "mine")
    assert Run.all(tmp_path) == []
    command = f"afdctl train RECIPE --runs {tmp_path} --name mine"
    with pytest.raises(NotFoundError, match=f"mine: nothing was trained here yet; start it with `{command}`"):
        Run.find("mine", tmp_path)


@pytest.mark.parametrize("file", ["run.json", "recipe.toml"])
def test_every_flipped_bit_of_a_run_is_found(tmp_path: Path, file: str):
    run = Run.create(tmp_path, "toy", "seed = 0\n", FACTS)
    path = run.path / file
    data = path.read_bytes()
    for place in range(len(data)):
        for changed in (data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :], data[:place]):
            path.write_bytes(changed)
            with pytest.raises(NotFoundError, match=r"changed since|has schema|missing"):
                Run.find("toy-001", tmp_path)
    path.write_bytes(data)
    assert Run.find("toy-001", tmp_path) == run


def test_a_changed_recipe_is_named_with_a_remedy(tmp_path: Path):
    run = Run.create(tmp_path, "toy", "seed = 0\n", FACTS)
    run.recipe_path.write_bytes(b"seed = 0\n\xe9")
    with pytest.raises(
        CorruptError, match=r"recipe\.toml: changed since the run began; restore it from a copy; to train"
    ):
        Run.find("toy-001", tmp_path)
    run.recipe_path.unlink()
    with pytest.raises(CorruptError, match=r"recipe\.toml: missing"):
        Run.find("toy-001", tmp_path)


def test_a_run_of_an_older_schema_is_one_line(tmp_path: Path):
    run = Run.create(tmp_path, "toy", "seed = 0\n", FACTS)
    (run.path / "run.json").write_text('{"schema": 1, "device": "cpu"}')
    with pytest.raises(NotFoundError, match=f"has schema 1, this afdctl reads {SCHEMA}; train or evaluate again"):
        Run.find("toy-001", tmp_path)


def test_no_room_for_the_lock_is_a_full_disk_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("afdctl.journal.writer.os.pwrite", full)
    with (
        pytest.raises(DiskFullError, match=r"mine/events\.ndjson\.lock: No space left"),
        Run.begin(tmp_path, "x", "mine"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
