"""Checkpoints are loaded as they were saved, or reported as damaged."""

import os
import random
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
import torch

import afdctl
from afdctl.errors import CorruptError, NotFoundError
from afdctl.runs.checkpoints import SavedCheckpoint, dangling_pointers, fitting, load, repair_best, save, verify_pointed
from afdctl.runs.run import Run


def save_step(run: Run, step: int, best: bool = False, keep: int = 3) -> SavedCheckpoint:
    return save(run, {"weight": torch.full((3,), float(step))}, step=step, epoch=step // 10, best=best, keep=keep)


def kept(run: Run) -> list[int]:
    return sorted(int(path.name[5:13]) for path in run.checkpoints.glob("*.pt"))


def test_a_state_comes_back_as_it_was_saved(run: Run) -> None:
    weights = {"a": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), "steps": torch.tensor(5)}
    state = {
        "weights": weights,
        "generator": torch.Generator().manual_seed(7).get_state(),
        "list": [1, 2.5, "x", None, True, {"deep": [torch.zeros(0)]}],
    }
    saved = save(run, state, step=12, epoch=3, best=False)
    loaded = load(run)
    assert repr(loaded.state) == repr(state)
    assert torch.equal(loaded.state["weights"]["a"], weights["a"])
    assert (loaded.step, loaded.epoch, loaded.path, loaded.warnings) == (12, 3, saved.path, [])
    assert loaded.digest == saved.digest


def test_the_file_name_holds_step_and_digest(run: Run) -> None:
    saved = save_step(run, 100, best=True)
    assert saved.digest == sha256(saved.path.read_bytes()).hexdigest()
    assert saved.path == run.checkpoints / f"step-00000100-{saved.digest[:16]}.pt"
    later = save_step(run, 200)
    assert (run.checkpoints / "best").read_text() == saved.path.name + "\n"
    assert (run.checkpoints / "last").read_text() == later.path.name + "\n"
    assert [load(run, which).step for which in ("best", "last", saved.path.name)] == [100, 200, 100]


def test_the_pointed_checkpoints_of_a_run_are_verified(run: Run) -> None:
    best = save_step(run, 10, best=True).path
    save_step(run, 20)
    verify_pointed(run)
    damage(best, "cut")
    with pytest.raises(CorruptError, match=f"{best.name}: damaged or missing; restore it from a copy$"):
        verify_pointed(run)
    (run.checkpoints / "best").write_text("x")
    with pytest.raises(CorruptError, match="best: damaged, it names no checkpoint"):
        verify_pointed(run)


@pytest.mark.parametrize("pointer", [None, "step-00000020-0123456789abcdef.pt", "x"])
def test_a_damaged_best_is_restored_from_the_journal(run: Run, pointer: str | None) -> None:
    """Otherwise the next save would delete the best checkpoint."""
    best = save_step(run, 10, best=True)
    rows = [
        {"event": "checkpoint", "step": step, "file": file, "best": is_best}
        for step, file, is_best in (
            (0, "step-0.pt", True),
            (10, best.path.name, True),
            (20, "x.pt", False),
            (30, "y", True),
        )
    ]
    path = run.checkpoints / "best"
    assert repair_best(run, rows, 20) == dangling_pointers(run) == []
    path.unlink() if pointer is None else path.write_text(pointer)
    assert dangling_pointers(run) == ([] if pointer is None else [f"{path}: damaged, it names no checkpoint"])
    (said,) = repair_best(run, rows, 20)
    assert said.startswith(f"{path}: was missing or damaged; restored from the journal")
    assert load(run, "best").digest == best.digest
    assert repair_best(run, [], 20) == []


def test_the_newest_are_kept_in_addition_to_last_and_best(run: Run) -> None:
    for step in range(10, 80, 10):
        save_step(run, step, best=step == 20, keep=2)
    assert kept(run) == [20, 50, 60, 70]
    save_step(run, 80, best=True, keep=0)
    assert kept(run) == [80]


def test_checkpoints_that_a_resume_superseded_are_not_the_newest(run: Run) -> None:
    for step in (10, 20, 30, 40):
        save_step(run, step, keep=4)
    save_step(run, 25, keep=2)
    assert kept(run) == [10, 20, 25]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[:-1], "longer": content + b"\0"}[how])


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "longer"])
def test_the_newest_intact_checkpoint_replaces_a_damaged_last(run: Run, how: str) -> None:
    saved = [save_step(run, step) for step in (10, 20, 30)]
    damage(saved[2].path, how)
    damage(saved[1].path, "cut")
    loaded = load(run)
    assert (loaded.step, loaded.state["weight"].tolist()) == (10, [10.0, 10.0, 10.0])
    assert [text.split(":")[0] for text in loaded.warnings] == [str(saved[2].path), str(saved[1].path)]
    damage(saved[0].path, how)
    with pytest.raises(CorruptError, match="every checkpoint is damaged"):
        load(run)


def test_the_replacement_is_never_later_than_last(run: Run) -> None:
    saved = [save_step(run, step) for step in (10, 20, 30)]
    (run.checkpoints / "last").write_text(saved[1].path.name)
    damage(saved[1].path, "cut")
    assert load(run).step == 10


def test_every_byte_of_a_checkpoint_is_guarded(run: Run) -> None:
    path = save_step(run, 10).path
    content = path.read_bytes()
    draw = random.Random(0)
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CorruptError):
            load(run, path.name)
    path.write_bytes(content)
    assert load(run, path.name).step == 10


def test_no_other_checkpoint_replaces_best_or_a_named_one(run: Run) -> None:
    best = save_step(run, 10, best=True).path
    save_step(run, 20)
    damage(best, "cut")
    for which in ("best", best.name):
        with pytest.raises(CorruptError, match=rf"checkpoints: {which} \({best.name}\) is damaged or missing"):
            load(run, which)


def test_a_run_without_checkpoints_is_reported(run: Run) -> None:
    with pytest.raises(NotFoundError, match="run toy-001 has no checkpoint"):
        load(run)
    save_step(run, 10)
    with pytest.raises(NotFoundError, match="run toy-001 has no best checkpoint"):
        load(run, "best")


@pytest.mark.parametrize("pointer", [b"", b"step-00000030-0000000000000000.pt", b"\xff\0/../x"])
def test_a_damaged_pointer_loses_nothing(run: Run, pointer: bytes) -> None:
    save_step(run, 10)
    save_step(run, 20)
    (run.checkpoints / "last").write_bytes(pointer)
    loaded = load(run)
    assert (loaded.step, len(loaded.warnings)) == (20, 1)


CHILD = """
import os, random, signal, sys, time, warnings
from pathlib import Path
import torch
from afdctl.runs.checkpoints import load, save
from afdctl.runs.run import Run

warnings.simplefilter("ignore")
torch.set_num_threads(1)
run, mode, kills = Run(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
state = lambda step: {"weight": torch.full((250_000,), float(step))}


def die_at(count):
    def hook(event, arguments):
        nonlocal count
        if event in ("open", "os.rename", "os.remove") and str(run.path) in str(arguments[0]):
            count -= 1
            if count == 0:
                os._exit(9)
    sys.addaudithook(hook)


def child(step, kill):
    if mode == "points":
        die_at(kill)
        save(run, state(step), step=step, epoch=0, best=True, keep=1)
        os._exit(0)
    while True:
        step += 1
        save(run, state(step), step=step, epoch=0, best=step % 2 == 0, keep=1)


last = 1
save(run, state(last), step=last, epoch=0, best=True, keep=1)
draw = random.Random(0)
for kill in range(1, kills + 1):
    pid = os.fork()
    if not pid:
        child(last + (mode == "points"), kill)
    if mode == "random":
        time.sleep(draw.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
    survived = os.waitpid(pid, 0)[1] == 0
    for which in ("best", "last"):
        loaded = load(run, which)
        assert not loaded.warnings and torch.equal(loaded.state["weight"], state(loaded.step)["weight"]), which
    assert loaded.step >= last
    last = loaded.step
    if survived:
        break
print(kill, last)
"""


def kill_in_save(run: Run, mode: str, kills: int) -> tuple[int, int]:
    environment = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(run.path), mode, str(kills)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    kill, last = result.stdout.split()
    return int(kill), int(last)


@pytest.mark.slow
def test_a_process_that_dies_at_any_point_of_a_save_leaves_good_checkpoints(run: Run) -> None:
    kill, last = kill_in_save(run, "points", 100)
    assert 10 < kill < 100
    assert last > 2


@pytest.mark.slow  # on a busy machine too few saves are reached before a kill
@pytest.mark.parametrize("kills", [25, 300])
def test_kill_9_in_a_save_leaves_good_checkpoints(run: Run, kills: int) -> None:
    assert kill_in_save(run, "random", kills)[1] > kills / 5


def put(run: Run, content: object) -> Path:
    """Replace a checkpoint by other content, under the file name of its digest."""
    buffer = BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue() if content is not None else b""
    path = run.checkpoints / f"step-00000099-{sha256(data).hexdigest()[:16]}.pt"
    path.write_bytes(data)
    (run.checkpoints / "last").write_text(f"{path.name}\n")
    return path


@pytest.mark.parametrize(
    "content",
    [
        None,
        1,
        [1],
        {},
        {"step": 1, "epoch": 1},
        {"step": 1, "epoch": 1, "state": []},
        {"step": "x", "epoch": 1, "state": {}},
    ],
)
def test_a_file_with_the_right_digest_and_a_wrong_content_is_named(run: Run, content: object) -> None:
    path = put(run, content)
    with pytest.raises(CorruptError, match=f"{path.name}: not a checkpoint of a training; restore it"):
        load(run)


def test_a_state_that_does_not_fit_is_named_unless_memory_is_full(run: Run) -> None:
    path = put(run, {"step": 1, "epoch": 1, "state": {}})
    loaded = load(run)
    with pytest.raises(CorruptError, match=f"{path.name}: does not fit the run's recipe"), fitting(loaded):
        torch.nn.Linear(2, 2).load_state_dict(loaded.network)
    with pytest.raises(torch.OutOfMemoryError), fitting(loaded):
        raise torch.OutOfMemoryError("full")
