"""`afdctl export --to`: a run's curves in other tools, read back by their own readers."""

import json
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from afdctl.cli import export_trackers
from afdctl.export.trackers.points import PointMaker
from afdctl.journal import Journal, read_rows
from tests.cli.conftest import Afdctl
from tests.conftest import short, train


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    train(short("digits_wgan"), folder / "runs", name="wgan")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read event files with TensorBoard's own reader: tag -> (step, value)."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    assert "recipe/text_summary" in reader.Tags()["tensors"] or "recipe" in reader.Tags()["tensors"]
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_reads_every_step_epoch_test_and_attack(afdctl: Afdctl, folder: Path):
    assert afdctl("attack", "wgan", "--attack", "fgsm", "--epsilon", "0.1", "--limit", "32").code == 0
    for _ in range(2):  # again: in place of the first
        ended = afdctl("export", "wgan", "--to", "tensorboard", "--out", "tb")
        assert ended.code == 0, ended.err
        assert ended.out.strip() == "tb/wgan"
    found = scalars(folder / "tb/wgan")
    rows = list(read_rows(folder / "runs/wgan/events.ndjson"))
    steps = [row for row in rows if row["event"] == "step"]
    assert found["train/L_C"] == [(row["step"], pytest.approx(row["L_C"])) for row in steps]
    assert len(steps) == 10
    epochs = [row for row in rows if row["event"] == "epoch"]
    assert found["validation/acc_adv"] == [(row["step"], pytest.approx(row["acc_adv"])) for row in epochs]
    (cell,) = [row for row in rows if row["event"] == "cell"]
    assert found["attack/fgsm/linf_0.1"] == [(10, pytest.approx(cell["accuracy"]))]
    assert {"test_best/acc_nat", "test_last/acc_adv", "train/lr_D"} <= found.keys()
    assert len(list((folder / "tb/wgan").iterdir())) == 1


def test_following_a_live_run(afdctl: Afdctl, folder: Path):
    """The writer appends a step while the export reads, and ends."""
    pytest.importorskip("tensorboard")
    run = folder / "runs/live"
    run.mkdir()
    for name in ("recipe.toml", "run.json"):
        (run / name).write_bytes((folder / "runs/wgan" / name).read_bytes())
    rows = list(read_rows(folder / "runs/wgan/events.ndjson"))

    def fields(row: Any) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in ("event", "t", "crc")}

    journal = Journal.open(run / "events.ndjson")
    later = threading.Event()

    def finish() -> None:
        later.wait(30)
        journal.append("step", **fields(rows[-1]) | {"step": 11, "epoch": 3})
        journal.close()

    rows = [row for row in rows if row["event"] in ("run", "step")]
    for row in rows:
        journal.append(row["event"], **fields(row))
    thread = threading.Thread(target=finish)
    thread.start()
    timer = threading.Timer(0.5, later.set)
    timer.start()
    try:
        ended = afdctl("export", "live", "--to", "tensorboard", "--out", "tb", "--follow", "--json")
    finally:
        later.set()
        thread.join()
        timer.cancel()
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == {"schema": "afdctl/1", "run": "live", "tool": "tensorboard", "place": "tb/live"}
    assert [step for step, _ in scalars(folder / "tb/live")["train/L_C"]] == list(range(1, 12))


@pytest.mark.slow  # its database has many tables
@pytest.mark.filterwarnings("ignore")  # of mlflow's own use of other libraries
def test_mlflow_reads_every_step_and_the_recipe(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder / "own.py").write_text("def move(model, x, y, *, epsilon): return x\nmove.label = 'a+b'\n")
    assert afdctl("attack", "wgan", "--attack", "own.py:move", "--epsilon", "0.1", "--limit", "32").code == 0
    ended = afdctl("export", "wgan", "--to", "mlflow", "--out", "ml")
    assert ended.code == 0, ended.err
    assert ended.out.strip() == f"sqlite:///{folder / 'ml/mlflow.db'}"
    client = mlflow.MlflowClient(ended.out.strip())
    (run,) = client.search_runs([client.get_experiment_by_name("afdctl").experiment_id])
    assert (run.info.run_name, run.info.status) == ("wgan", "FINISHED")
    assert run.data.params["defense.name"] == "afd"
    assert "attack/a_b/linf_0.1" in run.data.metrics  # mlflow refuses a +
    rows = [row for row in read_rows(folder / "runs/wgan/events.ndjson") if row["event"] == "step"]
    history = client.get_metric_history(run.info.run_id, "train/L_C")
    assert [(one.step, one.value) for one in history] == [(row["step"], row["L_C"]) for row in rows]


def test_points_of_rows():
    points = PointMaker()
    step = points.point({"event": "step", "t": 5.0, "step": 7, "epoch": 1, "L_C": 2, "L_D": None, "lr_C": 0.1})
    assert step is not None
    assert (step.step, step.t, step.values) == (7, 5.0, {"train/L_C": 2.0, "train/lr_C": 0.1})
    cell = {"event": "cell", "t": 6.0, "attack": "aa", "norm": "l2", "epsilon": 0.5, "source": "nt", "accuracy": 0.25}
    found = points.point(cell)
    assert found is not None
    assert (found.step, found.values) == (7, {"attack/aa_from_nt/l2_0.5": 0.25})
    assert points.point({"event": "warning", "t": 1.0, "message": "x"}) is None


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--to", "tensorbord"], "--to tensorbord: no such tool (did you mean 'tensorboard'?)", 2),
        (["--follow", "--events", "csv"], "--follow: goes with --to", 2),
        (["--to", "wandb"], "install with `pip install 'afdctl[wandb]'`", 1),
        (["--to", "tensorboard", "--out", "runs/wgan/recipe.toml"], "is a file, not a folder", 2),
    ],
)
def test_mistakes(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str, code: int):
    monkeypatch.setattr(export_trackers, "find_spec", lambda name: None if name == "wandb" else object())
    ended = afdctl("export", "wgan", *options)
    assert ended.code == code
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_tool_that_fails_is_one_line_and_its_messages_are_not_the_result(
    afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch
):
    broken = ModuleType("trackio")

    def init(**_: Any) -> None:
        print("hello")  # noqa: T201
        raise RuntimeError("no disk")

    broken.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", broken)
    monkeypatch.setattr(export_trackers, "find_spec", lambda name: object())
    monkeypatch.setenv("TRACKIO_DIR", "unused")
    ended = afdctl("export", "wgan", "--to", "trackio")
    assert (ended.code, ended.out) == (1, "")
    assert "--to trackio: fails: RuntimeError: no disk" in ended.err
