"""`afdctl train --grid`: every cell is a run that is trained, resumed, skipped or left to its writer."""

import json
import signal
from pathlib import Path

import pytest

from afdctl.cluster import training
from afdctl.errors import DivergedError
from afdctl.journal import Journal
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl
from tests.cli.trainings import events, options
from tests.conftest import SHORT

TINY = ["digits_nt", *options([*SHORT, "train.epochs=1", "data.train_limit=64", "validation.limit=8", "test.limit=8"])]
GRID = [*TINY, "--grid", "defense.lr_C=0.05,0.1", "--runs", "g", "--device", "cpu"]


@pytest.fixture(scope="module")
def names(folder: Path) -> list[str]:
    """The cells in their order."""
    from afdctl.recipe.grid import Grid, parse

    overrides = [word for word in TINY if "=" in word]
    return [
        f"digits_nt-{cell.digest}" for cell in Grid("digits_nt", overrides, parse(["defense.lr_C=0.05,0.1"])).cells()
    ]


def states(here: Afdctl) -> list[str]:
    found = json.loads(here(*GRID, "--dry-run", "--json").out)
    return [cell["state"] for cell in found["cells"]]


def test_a_dry_run_lists_the_cells_and_makes_nothing(here: Afdctl, folder: Path, names: list[str]):
    ended = here(*GRID, "--dry-run")
    assert ended.code == 0
    rows = [line.split("│")[1:4] for line in ended.out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["0.05", names[0], "not started"],
        ["0.1", names[1], "not started"],
    ]
    assert ended.err == "2 trainings in g, 2 of them to do\n"
    assert not (folder / "g").exists()


def test_what_another_process_writes_is_left_to_it_and_named(here: Afdctl, folder: Path, names: list[str]):
    (folder / "g" / names[0]).mkdir(parents=True)
    with Journal.open(folder / "g" / names[0] / "events.ndjson"):
        ended = here(*GRID)
    assert (ended.code, ended.out) == (4, f"g/{names[1]}\n")
    assert ended.err.splitlines()[-2:] == [
        "error: 1 of 2 trainings are finished",
        f"error: busy in another process: {names[0]}",
    ]
    assert Run(folder / "g" / names[1]).finished


def test_the_same_command_trains_what_is_missing(here: Afdctl, folder: Path, names: list[str]):
    before = (folder / "g" / names[1] / "events.ndjson").read_bytes()
    ended = here(*GRID)
    assert (ended.code, ended.out.split()) == (0, [f"g/{name}" for name in names])
    assert f"g/{names[1]} (lr_C=0.1): finished before" in ended.err
    assert [line[:15] for line in ended.err.splitlines() if line.startswith("training ")] == ["training 1 of 2"]
    assert ended.err.endswith("2 of 2 trainings are finished\n")
    assert (folder / "g" / names[1] / "events.ndjson").read_bytes() == before
    assert states(here) == ["finished", "finished"]


def test_an_interrupted_cell_resumes_and_the_rest_follows(
    here: Afdctl, folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    stopping = [*GRID, "--runs", "stopped", "--json"]
    start = training.setup.start

    def start_and_stop(*args: object, on_line: object, **options: object) -> None:
        def stop(line: str) -> None:
            if '"event":"cost"' in line:
                signal.raise_signal(signal.SIGTERM)

        start(*args, on_line=stop, **options)

    with monkeypatch.context() as patched:
        patched.setattr(training.setup, "start", start_and_stop)
        ended = here(*stopping)
    assert ended.code == 143
    assert "error: stopped by SIGTERM; 0 of 2 trainings are finished; resume with the same command" in ended.err
    first = Run(folder / "stopped" / names[0])
    assert first.exists
    assert not first.finished
    found = json.loads(here(*stopping).out)
    assert [cell["state"] for cell in found["cells"]] == ["finished", "finished"]
    assert len(events(first, "resume")) == 1


def test_a_cell_that_fails_does_not_end_the_others(
    here: Afdctl, folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    failing = [*GRID, "--runs", "failing"]
    start = training.setup.start

    def diverge(recipe: object, run: Run, *args: object, **options: object) -> None:
        if run.name == names[0]:
            raise DivergedError("L_C is NaN")
        start(recipe, run, *args, **options)

    monkeypatch.setattr(training.setup, "start", diverge)
    ended = here(*failing)
    assert (ended.code, ended.out) == (6, f"failing/{names[1]}\n")
    assert f"failing/{names[0]} (lr_C=0.05): diverged: L_C is NaN" in ended.err
    assert ended.err.splitlines()[-1] == f"error: diverged: {names[0]}"


def test_a_diverged_cell_is_not_trained_again(here: Afdctl, folder: Path, names: list[str]):
    with Run(folder / "g" / names[0]).open_journal() as journal:
        journal.append("end", step=1, reason="diverged", exit_code=6, message="L_C is NaN")
    ended = here(*GRID)
    assert (ended.code, ended.out) == (6, f"g/{names[1]}\n")
    assert "(lr_C=0.05): diverged: L_C is NaN" in ended.err


@pytest.mark.parametrize("ray", [(), ("--ray", "local")])
def test_missing_data_is_one_line_before_the_first_training(
    here: Afdctl, folder: Path, ray: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("afdctl.cli.on_ray.check_ray", lambda options: None)
    ended = here("folder_wgan", "--grid", "seed=0,1", "--data-dir", "nosuch", "--runs", "nodata", *ray)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("error: nosuch: not an image folder with train/<class>/")
    assert ended.err.count("\n") == 1
    extra = ["--set", "data.extra=nosuch.npz", "--set", "data.extra_share=0.5"]
    ended = here("digits_wgan", *extra, "--grid", "seed=0,1", "--runs", "nodata", *ray)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("error: nosuch.npz: no such file; name a file of arrays with data.extra")
    assert ended.err.count("\n") == 1
    assert not (folder / "nodata").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "defense.lr_G=1"], "--grid defense.lr_G: no such key (did you mean 'lr_C'?)"),
        (["--grid", "seed=1", "--seeds", "0,1"], "--grid seed=1: seed is named twice"),
        (["--grid", "seed=1", "--name", "x"], "--name: not with --grid"),
        (["--grid", "seed=1", "--tui"], "--tui: not with --grid; leave it out, and `afdctl watch runs` shows the runs"),
        (["--grid", "seed=1", "--detach"], "--detach: not with --grid"),
        (["--grid", "seed=1", "--nproc", "2"], "--grid: not with --nproc; the same --grid, started several times,"),
        (["--grid", "seed=1", "--resume", "latest"], "--resume: not with --grid"),
        (["--dry-run"], "--dry-run: needs --grid KEY=VALUE,VALUE"),
        (["--dry-run", "--seeds", "0, 1"], "--dry-run: needs --grid seed=0,1 instead of --seeds"),
        (["--ray", "local", "--seeds", "0,1"], "--ray: needs --grid seed=0,1 instead of --seeds"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_touched(here: Afdctl, folder: Path, arguments: list[str], message: str):
    ended = here("digits_nt", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
    assert not (folder / "runs").exists()
