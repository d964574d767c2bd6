"""Runs are numbered, found and verified."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from afdctl.errors import BusyError, CorruptError, NotFoundError, RecipeError
from afdctl.journal import SCHEMA
from afdctl.runs.folders import name_fault
from afdctl.runs.run import Run


def create(root: Path, stem: str = "toy", name: str | None = None) -> Run:
    return Run.create(root, stem, "seed = 0  # ε\n", {"device": "cpu"}, name=name)


def test_a_new_run_holds_its_recipe_and_its_provenance(tmp_path: Path) -> None:
    run = create(tmp_path / "deep" / "runs")
    assert run.path == tmp_path / "deep" / "runs" / "toy-001"
    assert run.recipe_text == "seed = 0  # ε\n"
    assert run.provenance == {
        "schema": SCHEMA,
        "device": "cpu",
        "recipe_digest": sha256(run.recipe_path.read_bytes()).hexdigest(),
    }
    assert list(json.loads((run.path / "run.json").read_text())) == [*run.provenance, "digest"]
    assert run.checkpoints.is_dir()


def test_runs_of_a_stem_are_numbered_on(tmp_path: Path) -> None:
    (tmp_path / "toy-009").mkdir()
    (tmp_path / "toy-009/notes").touch()
    (tmp_path / "toy-x").touch()
    (tmp_path / "toys-077").mkdir()
    names = [create(tmp_path, stem).name for stem in ("toy", "toy", "a.b")]
    assert names == ["toy-010", "toy-011", "a.b-001"]


def test_the_name_of_a_file_becomes_one_that_a_run_can_have(tmp_path: Path) -> None:
    stems = ("a:b", "-x", ".x", "a\nb", "~", "x" * 250, "é b")
    names = [create(tmp_path, stem).name for stem in stems]
    assert names == ["a-b-001", "x-001", "x-002", "a-b-002", "run-001", f"{'x' * 80}-001", "é-b-001"]
    assert not any(map(name_fault, names))


def test_concurrent_creations_get_distinct_runs(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create(tmp_path), range(24)))
    assert sorted(run.name for run in runs) == [f"toy-{number:03d}" for number in range(1, 25)]


def test_an_exact_name_is_taken_once(tmp_path: Path) -> None:
    run = create(tmp_path, name="mine")
    with pytest.raises(RecipeError, match="mine: exists; choose another --name"):
        create(tmp_path, name="mine")
    assert run.recipe_text


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-", "latest", "a/b", "a:b", "a\nb", "-x", ".x", "~x", "\udcff", "x" * 101]
)
def test_a_name_that_could_not_be_found_again_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="--name"):
        create(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RecipeError, match=r"runs: no run can be made here \(file exists\); choose another folder"):
        create(tmp_path / "runs")


def test_a_run_is_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(tmp_path)
    assert Run.find(str(run.path), Path("elsewhere")) == run
    assert Run.find("toy-001", tmp_path) == run
    monkeypatch.chdir(run.path)
    assert Run.find(".", tmp_path).name == "toy-001"


def test_the_latest_run_is_the_newest_that_was_started(tmp_path: Path) -> None:
    runs = [create(tmp_path, stem) for stem in "cbad"]
    for age, run in enumerate(runs):
        os.utime(run.path / "run.json", (age, age))
    assert Run.all(tmp_path) == runs
    with pytest.raises(NotFoundError, match="no run here"):
        Run.find("latest", tmp_path)
    for run in runs[:3]:
        with run.open_journal() as journal:
            journal.append("cost")
    assert Run.find("latest", tmp_path) == runs[2]


def test_a_folder_that_is_no_run_is_named_with_a_remedy(tmp_path: Path) -> None:
    create(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").touch()
    with pytest.raises(NotFoundError, match=r"toi-001: no such run under .*; did you mean 'toy-001'\?"):
        Run.find("toi-001", tmp_path)
    with pytest.raises(NotFoundError, match=r"zzz: no such run under .*; name another folder with --runs"):
        Run.find("zzz", tmp_path)
    with pytest.raises(NotFoundError, match=r"folder: not a run \(it has no run.json\)"):
        Run.find("folder", tmp_path)
    assert Run.all(tmp_path / "nowhere") == []


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_damaged_run_json_is_named(tmp_path: Path, content: str) -> None:
    run = create(tmp_path)
    (run.path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(CorruptError, match=r"run\.json: damaged"):
        Run.find("toy-001", tmp_path)


def test_a_run_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "run.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(NotFoundError, match=r"toy-001: has schema .* upgrade afdctl"):
        Run.find("toy-001", tmp_path)


def test_opening_a_run_for_writing_sweeps_it_and_shuts_others_out(tmp_path: Path) -> None:
    run = create(tmp_path)
    leftovers = [run.path / f".results.h5.{os.getpid()}.tmp", run.checkpoints / f".last.{os.getpid()}.tmp"]
    for leftover in leftovers:
        leftover.touch()
    with run.open_journal():
        assert not any(leftover.exists() for leftover in leftovers)
        with pytest.raises(BusyError, match=f"toy-001 is being written by pid {os.getpid()}"):
            run.open_journal()


def test_a_run_without_a_recipe_is_of_a_model_of_ones_own(tmp_path: Path):
    run = Run.create(tmp_path, "net", None, {"kind": "external"})
    assert (run.kind, run.recipe_text, run.recipe_path.exists()) == ("external", "", False)
    assert Run.find("net-001", tmp_path) == run


def test_a_run_without_a_kind_was_trained(run: Run):
    assert (run.kind, run.recipe_text) == ("trained", "seed = 0\n")
