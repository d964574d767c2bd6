"""Test sweeps from plan to results: skipped, killed, resumed, stopped, and out of memory."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError, BusyError, DiskFullError, StoppedError
from afdctl.evaluation import batches, runner
from afdctl.evaluation.cells import PartialResultStore
from afdctl.evaluation.curves import sweep_curves
from afdctl.evaluation.plan import Task, plan_transfers, plan_white_box
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget
from afdctl.image_counts import format_subset
from afdctl.journal import Journal, JournalReader, cache, read_rows
from afdctl.runs import results_file, shards
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from tests.evaluation.conftest import MakeSubject, N

GRID = (0.0, 0.05, 0.1)


def spec(name: str, epsilons: tuple[float, ...] = GRID, **knobs: Any) -> AttackConfig:
    return ATTACKS[name](name=name, epsilons=epsilons, **knobs)


def tasks(subject: EvaluationTarget, *specs: AttackConfig, limit: int | None = None) -> list[Task]:
    return plan_white_box([subject], lambda _: Suite("mine", specs), seed=0, choose=partial(Subset.of, limit=limit))


def sweep(plan: list[Task], **options: Any) -> SweepRunner:
    return SweepRunner(plan, suite="mine", **{"batch_size": 16, **options})


def events(run: Run, event: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(run.journal_path) if row["event"] == event]


def arrays(run: Run) -> dict[str, Any]:
    """The content of the shard of each attack, by its cells' keys."""
    return {row["key"]: shards.read(run, row["shard"]) for row in events(run, "cell")}


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key in one:
        assert one[key].keys() == other[key].keys()
        for name in one[key]:
            np.testing.assert_array_equal(one[key][name], other[key][name], strict=True)


PGD = spec("pgd_linf", steps=5)
FGSM = spec("fgsm")


def test_figures_are_those_of_the_samples(make_subject: MakeSubject):
    subject = make_subject()
    rows = sweep(tasks(subject, PGD, FGSM)).run()
    cells = events(subject.run, "cell")
    assert [(row["attack"], row["epsilon"]) for row in cells] == [
        ("pgd_linf", 0.05),
        ("pgd_linf", 0.1),
        ("fgsm", 0.05),
        ("fgsm", 0.1),
    ]
    assert {(subject.name, row["key"]) for row in cells} == set(rows)
    for row in cells:
        columns = arrays(subject.run)[row["key"]]
        distance = columns[f"{row['epsilon']:g}/distance"]
        assert row["accuracy"] == np.isinf(distance).mean()
        assert row["low"] < row["accuracy"] < row["high"]
        assert row["acc_nat"] == (N - 3) / N
        assert (distance[:3] == 0).all()
        fooled = np.isfinite(distance) & (distance > 0)
        assert 0 < fooled.sum() < N
        assert (distance[fooled] <= row["epsilon"] * (1 + 1e-5)).all()
        prediction = columns[f"{row['epsilon']:g}/prediction"]
        assert (prediction[fooled] != columns["label"][fooled]).all()
        assert (prediction[np.isinf(distance)] == columns["label"][np.isinf(distance)]).all()
        assert row["forwards"] == columns[f"{row['epsilon']:g}/forwards"].sum() > 0
    pgd = [row["accuracy"] for row in cells[:2]]
    assert pgd[0] >= pgd[1]


def test_finished_cells_are_skipped(make_subject: MakeSubject):
    subject = make_subject()
    first = sweep(tasks(subject, PGD)).run()
    journal = subject.run.journal_path.read_bytes()
    again = sweep(tasks(subject, PGD))
    assert again.run().keys() == first.keys()
    assert subject.run.journal_path.read_bytes() == journal
    sweep(tasks(subject, PGD, FGSM)).run()
    assert [row["attack"] for row in events(subject.run, "cell")] == ["pgd_linf", "pgd_linf", "fgsm", "fgsm"]
    assert {(subject.name, key) for key in events(subject.run, "sweep")[-1]["done"]} == set(first)


def test_a_check_that_the_journal_lacks_is_written_though_no_cell_is(make_subject: MakeSubject):
    source, target = make_subject("source", seed=1), make_subject("target")
    sweep(tasks(target, FGSM)).run()
    sweep(plan_transfers([source], [target], lambda _: Suite("mine", (FGSM,)), seed=0)).run()
    source, target = (
        replace(
            one,
            check={"event": "sanity_check", "t": 1.0, "version": 1, "n": N, "warnings": [one.name]}
            | {"checkpoint": one.digest, "data": one.data_digest},
        )
        for one in (source, target)
    )
    plan = tasks(target, FGSM)
    for _ in range(2):
        sweep(plan).run()
        assert [row["warnings"] for row in events(target.run, "sanity_check")] == [["target"]]
    for _ in range(2):
        sweep(plan_transfers([source], [target], lambda _: Suite("mine", (FGSM,)), seed=0)).run()
        assert [row["warnings"] for row in events(target.run, "sanity_check")] == [["target"], ["source"]]
    raised = replace(target, check=target.check | {"version": 2, "warnings": ["anew"]})
    sweep(tasks(raised, FGSM)).run()
    assert events(target.run, "sanity_check")[-1]["warnings"] == ["anew"]


def test_a_longer_grid_adds_only_what_is_new(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, FGSM)).run()
    longer = sweep(tasks(subject, spec("fgsm", (*GRID, 0.2))))
    assert [task.epsilons for task in longer.cells.pending_tasks()] == [(0.2,)]
    longer.run()
    assert [row["epsilon"] for row in events(subject.run, "cell")] == [0.05, 0.1, 0.2]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"limit": 20},
        {"first": 20},
        {"digest": "other"},
        {"data_digest": "other"},
        {"steps": 6},
        {"grid": (0.0, 0.1)},
    ],
)
def test_whatever_a_figure_depends_on_is_in_its_key(make_subject: MakeSubject, change: dict[str, Any]):
    subject = make_subject()
    (before,) = tasks(subject, PGD)
    changed = {key: value for key, value in change.items() if key in ("digest", "data_digest")}
    other = EvaluationTarget(**{**vars(subject), **changed})
    attack = spec("pgd_linf", change.get("grid", GRID), steps=change.get("steps", 5))
    subset = Subset.of(N, limit=change.get("limit"), first=change.get("first"))
    after = Task(spec=attack, source=other, targets=(other,), seed=change.get("seed", 0), subset=subset)
    assert before.key(subject, 0.1) != after.key(other, 0.1)


@pytest.mark.parametrize("order", ["ascending", "descending", "independent"])
def test_a_grid_matters_where_epsilons_depend_on_each_other(make_subject: MakeSubject, order: str):
    subject = make_subject()
    plans = (tasks(subject, spec("pgd_linf", grid, schedule=order)) for grid in (GRID, (0.0, 0.1)))
    one, other = (plan[0].key(subject, 0.1) for plan in plans)
    assert (one == other) == (order == "independent")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("attack", ["pgd_linf", "fgsm"])
@pytest.mark.parametrize("done", [0, 16, 32])
def test_a_killed_sweep_resumes_to_the_same_results(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, attack: str, done: int
):
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    whole, killed = make_subject("whole"), make_subject("killed")
    killed = EvaluationTarget(**{**vars(killed), "digest": whole.digest})
    sweep(tasks(whole, PGD, FGSM)).run()

    def kill(row: dict[str, Any]) -> None:
        if row["event"] == "sweep_progress" and (row["attack"], row["done"]) == (attack, done):
            raise Killed

    with pytest.raises(Killed):
        sweep(tasks(killed, PGD, FGSM), on_row=kill).run()
    progress: list[tuple[str, int]] = []

    def listen(row: dict[str, Any]) -> None:
        if row["event"] == "sweep_progress":
            progress.append((row["attack"], row["done"]))

    sweep(tasks(killed, PGD, FGSM), on_row=listen).run()
    steps = [("pgd_linf", at) for at in (0, 16, 32, N)] + [("fgsm", at) for at in (0, 16, 32, N)]
    assert progress == steps[steps.index((attack, done)) :]
    assert_equal(arrays(killed.run), arrays(whole.run))
    assert not list(killed.run.shards.glob("block-*"))


def test_a_damaged_block_is_done_again(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    whole, killed = make_subject("whole"), make_subject("killed")
    killed = EvaluationTarget(**{**vars(killed), "digest": whole.digest})
    sweep(tasks(whole, PGD)).run()

    def kill(row: dict[str, Any]) -> None:
        if row["event"] == "sweep_progress" and row["done"] == 32:
            raise Killed

    with pytest.raises(Killed):
        sweep(tasks(killed, PGD), on_row=kill).run()
    (second,) = killed.run.shards.glob("block-*-000016-*")
    second.write_bytes(second.read_bytes()[:-1])
    sweep(tasks(killed, PGD)).run()
    assert_equal(arrays(killed.run), arrays(whole.run))


def test_a_signal_saves_and_stops(make_subject: MakeSubject):
    subject = make_subject()

    def interrupt(row: dict[str, Any]) -> None:
        if row["event"] == "sweep_progress" and row["done"] == 16:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="resume with the same command") as stopped:
        sweep(tasks(subject, PGD), on_row=interrupt).run()
    assert stopped.value.exit_code == 143
    assert events(subject.run, "sweep_end")[-1]["reason"] == "stopped"
    assert events(subject.run, "sweep_block")[-1]["done"] == 16


def test_two_runs_of_one_network_are_both_swept(make_subject: MakeSubject):
    """Their cells have the same keys, and each run needs its own shards."""
    one, two = make_subject("one"), make_subject("two")
    two = replace(two, digest=one.digest)
    sweep(tasks(one, FGSM)).run()
    both = sweep([*tasks(one, FGSM), *tasks(two, FGSM)])
    rows = both.run()
    assert {name for name, _ in rows} == {"one", "two"}
    assert list(sweep_curves(both.cells.tasks, rows)) == ["one", "two"]
    assert_equal(arrays(one.run), arrays(two.run))


def test_the_plan_of_each_run_has_the_number_of_its_own_images(make_subject: MakeSubject):
    one, other = make_subject("one"), make_subject("other", seed=1)
    other = replace(other, split=other.split.head(30))
    sweep([*tasks(one, FGSM, limit=35), *tasks(other, FGSM, limit=35)]).run()
    images = [
        [(row["subset"], row["n"], row["split_n"]) for row in events(subject.run, "sweep")] for subject in (one, other)
    ]
    assert images == [[("sample", 35, N)], [("all", 30, 30)]]


def test_a_run_that_is_written_is_busy(make_subject: MakeSubject):
    subject = make_subject()
    with subject.run.open_journal(), pytest.raises(BusyError):
        sweep(tasks(subject, PGD)).run()


@pytest.mark.parametrize("place", ["results", "row"])
def test_last_words_that_do_not_fit_on_the_disk_are_the_error(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, place: str
):
    subject = make_subject()
    work = sweep(tasks(subject, FGSM))

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("no space left")

    def last(row: dict[str, Any]) -> None:
        if row["event"] == "cell" and row["epsilon"] == row["last"]:
            monkeypatch.setattr(*((runner.results_file, "build") if place == "results" else (Journal, "extend")), full)

    work.on_row = last
    with pytest.raises(DiskFullError):
        work.run()


def test_last_words_that_do_not_fit_do_not_hide_what_went_wrong(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr(runner.results_file, "build", lambda run: (_ for _ in ()).throw(DiskFullError("full")))
        raise ZeroDivisionError

    monkeypatch.setattr(batches, "attack_batch", fail)
    with pytest.raises(ZeroDivisionError):
        sweep(tasks(make_subject(), FGSM)).run()


FULL = [
    torch.OutOfMemoryError("full"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
]
APGD = spec("apgd_ce", (0.0, 0.1), steps=5)


def cramp(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception = FULL[0]) -> list[tuple[str, int]]:
    """Limit the memory to `most` images; return the list of attempted batches: attack and number of images."""
    attack, tried = batches.attack_batch, []

    def cramped(task: Task, model: Any, x: torch.Tensor, *rest: Any, **options: Any) -> Any:
        tried.append((task.spec.title, len(x)))
        if len(x) > most:
            raise error
        return attack(task, model, x, *rest, **options)

    monkeypatch.setattr(batches, "attack_batch", cramped)
    return tried


@pytest.mark.parametrize("error", FULL)
def test_full_memory_halves_the_batch(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, error: Exception):
    subject, small = make_subject("subject"), make_subject("small")
    tried = cramp(monkeypatch, 4, error)
    warnings: list[str] = []
    sweep(tasks(subject, FGSM), on_row=lambda row: warnings.append(row.get("message", ""))).run()
    assert any("batches of 4" in warning for warning in warnings)
    assert tried == [("fgsm", 16), ("fgsm", 8), *[("fgsm", 4)] * (N // 4)]
    monkeypatch.undo()
    sweep(tasks(EvaluationTarget(**{**vars(small), "digest": subject.digest}), FGSM)).run()
    assert_equal(arrays(subject.run), arrays(small.run))


def test_an_attack_whose_result_depends_on_the_batch_starts_again_as_another(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    """Its cells are those of a sweep that had small batches from the start; the others keep what they have done."""
    subject, small = make_subject("subject"), make_subject("small")
    small = EvaluationTarget(**{**vars(small), "digest": subject.digest})
    tried = cramp(monkeypatch, 8)
    cramped = sweep(tasks(subject, APGD, FGSM))
    rows = cramped.run()
    assert tried[:2] == [("apgd_ce", 16), ("apgd_ce", 8)]
    assert {row["spec"].get("batch_size") for row in rows.values()} == {8, None}
    assert {(subject.name, cell["key"]) for task in cramped.cells.tasks for cell in task.cells()} == set(rows)
    assert set(events(subject.run, "sweep")[-1]["done"]) == set()
    assert {(subject.name, cell["key"]) for cell in events(subject.run, "sweep")[-1]["cells"]} == set(rows)
    tried.clear()
    assert sweep(tasks(subject, APGD, FGSM)).run().keys() == rows.keys()
    assert tried == []
    monkeypatch.undo()
    sweep(tasks(small, APGD, FGSM), batch_size=8).run()
    assert_equal(arrays(subject.run), arrays(small.run))


def test_once_the_memory_was_full_the_same_attack_begins_with_small_batches(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    """Also at further epsilons; where nothing was done in smaller batches, the large ones are tried."""
    subject = make_subject()
    square, longer = (spec("square", grid, queries=5, schedule="independent") for grid in (GRID, (*GRID, 0.2)))
    cramp(monkeypatch, 4)
    sweep(tasks(subject, square)).run()
    assert [(one.batch_size, one.epsilons) for one in sweep(tasks(subject, longer)).cells.pending_tasks()] == [
        (4, (0.2,))
    ]
    other = spec("square", GRID, queries=6, schedule="independent")
    assert [one.batch_size for one in sweep(tasks(subject, other)).cells.pending_tasks()] == [16]
    # batches of 6 are never halved to 4
    assert [one.batch_size for one in sweep(tasks(subject, square), batch_size=6).cells.pending_tasks()] == [6]


def test_blocks_of_a_batch_that_was_too_large_are_removed(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    subject, attack = make_subject(), batches.attack_batch

    def later_full(
        task: Task, model: Any, x: torch.Tensor, y: torch.Tensor, index: torch.Tensor, **options: Any
    ) -> Any:
        if len(x) > 8 and index[0]:
            raise FULL[0]
        return attack(task, model, x, y, index=index, **options)

    monkeypatch.setattr(batches, "attack_batch", later_full)
    (row,) = sweep(tasks(subject, APGD)).run().values()
    assert row["spec"]["batch_size"] == 8
    assert len({row["task"] for row in events(subject.run, "sweep_block")}) == 2
    assert not list(subject.run.shards.glob("block-*"))


def test_a_single_image_that_does_not_fit_is_one_line(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    cramp(monkeypatch, 0)
    for attack in (FGSM, APGD):
        with pytest.raises(AfdctlError, match=r"^the memory is too small for a single image$"):
            sweep(tasks(make_subject(attack.name), attack)).run()


def test_the_key_of_an_attack_that_draws_for_a_whole_batch_has_its_size(make_subject: MakeSubject):
    subject = make_subject()
    plans = {name: tasks(subject, spec(name, (0.0, 0.1)))[0] for name in ATTACKS if name not in ("pgd_l1", "apgd_l1")}
    for name, task in plans.items():
        keys = {task.with_batch_size(size).key(subject, 0.1) for size in (8, 16)}
        assert len(keys) == (2 if name in ("aa", "apgd_ce", "apgd_dlr", "apgd_t", "square") else 1), name
        # a batch of more than all images is one of all
        assert task.with_batch_size(N).key(subject, 0.1) == task.with_batch_size(2 * N).key(subject, 0.1)


def test_the_key_has_the_version_of_the_library_that_takes_the_steps(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    """Or of the distillation."""
    subject = make_subject()
    plan = [task.with_batch_size(16) for task in tasks(subject, APGD, FGSM, spec("surrogate", (0.0, 0.1)))]
    before = [task.key(subject, 0.1) for task in plan]
    monkeypatch.setattr("afdctl.evaluation.plan.library_version", lambda: "pyautoattack 99")
    monkeypatch.setattr("afdctl.evaluation.plan.DISTILLATION_VERSION", 99)
    after = [task.key(subject, 0.1) for task in plan]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, False]


class InDouble(torch.nn.Module):
    """A model whose logits have another precision than its images."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.double()


@pytest.mark.parametrize("name", ["cw", "deepfool", "apgd_t"])
def test_a_model_may_answer_in_double_precision(make_subject: MakeSubject, name: str):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4), InDouble())
    attack = spec(name, (0.0, 0.1), steps=5, **({"norm": "l2"} if name == "deepfool" else {}))
    (row,) = sweep(tasks(make_subject(network=network), attack, limit=8)).run().values()
    assert row["n"] == 8


def test_progress_is_reported_within_a_batch(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    """A batch of AutoAttack takes minutes; the images that are done, and what is known of them, are those before it."""
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", 0.0)
    subject, reported = make_subject(), []
    sweep(tasks(subject, spec("pgd_linf", (0.0, 0.1), steps=3)), batch_size=30, on_row=reported.append).run()
    within = [row for row in reported if "passes" in row]
    assert {row["done"] for row in within} == {0, 30}
    assert [row["passes"] for row in within if not row["done"]] == [*range(1, 1 + len(within) // 2)]
    assert all(row["accuracy"] == {} for row in within if not row["done"])
    assert within[-1]["accuracy"].keys() == {"0.1"}
    assert within[-1]["seconds"] >= within[0]["seconds"] > 0


def test_results_on_a_sample_pair_with_others_by_the_images_number(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the other images are, an image gets the same random start, and so the same x'."""
    subject, attack = make_subject(), spec("pgd_linf", (0.0, 0.05), steps=2, random_start=True)
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    sweep(tasks(subject, attack), save_images=True).run()
    sweep(tasks(subject, attack, limit=20), save_images=True, batch_size=6).run()
    sweep(plan_white_box([subject], lambda _: Suite("m", (attack,)), seed=0, choose=partial(Subset.of, first=20))).run()
    rows = events(subject.run, "cell")
    assert [(row["subset"], row["n"], row["split_n"]) for row in rows] == [
        ("all", N, N),
        ("sample", 20, N),
        ("first", 20, N),
    ]
    every, sample, first = (arrays(subject.run)[row["key"]] for row in rows)
    assert first["index"].tolist() == list(range(20))
    assert sample["index"].tolist() == np.random.RandomState(0).permutation(N)[:20].tolist()
    for name in set(sample) - {"index"}:
        np.testing.assert_array_equal(sample[name], every[name][sample["index"]])
    with h5py.File(subject.run.results_path) as file:
        assert file["attacks/pgd_linf/0.05/index"][:].tolist() == list(range(N))


def test_a_sample_and_the_first_images_do_not_replace_one_another_silently(make_subject: MakeSubject):
    subject, plan = make_subject(), partial(plan_white_box, suite_of=lambda _: Suite("mine", (FGSM,)), seed=0)

    def shown(**choice: int) -> tuple[list[str], list[str], str]:
        runner = sweep(plan([subject], choose=partial(Subset.of, **choice)))
        runner.run()
        kept = [format_subset(row) for _, _, row in runner.cells.not_selected()]
        replaced = [format_subset(row) for _, row, _ in runner.cells.replaced_by_other_images()]
        return kept, replaced, format_subset(Record.of(subject.run).curves["fgsm", None].cells[0])

    assert shown(first=10) == ([], [], "first 10")
    assert shown(limit=10) == ([], ["first 10"], "10 (random sample)")
    assert shown(first=10) == (["10 (random sample)"] * 2, [], "10 (random sample)")
    assert shown(limit=20) == ([], [], "20 (random sample)"), "its images are among these"
    assert shown(first=30) == ([], ["20 (random sample)"], "first 30")
    assert shown(limit=N) == shown(first=N) == ([], [], f"{N}")
    assert len({row["key"] for row in events(subject.run, "cell") if row["n"] == N}) == 2, "one cell for each epsilon"


def test_transfer_judges_images_of_the_source(make_subject: MakeSubject):
    source, target, third = make_subject("source", seed=1), make_subject("target"), make_subject("third", seed=2)
    suite = Suite("mine", (PGD,))
    plan = plan_transfers([source], [target, third], lambda _: suite, seed=0)
    sweep(plan, save_images=True).run()
    assert not events(source.run, "cell")
    images = []
    for subject in (target, third):
        row = events(subject.run, "cell")[-1]
        assert row["source"] == "source"
        assert row["schedule"] == "independent"
        columns = arrays(subject.run)[row["key"]]
        images.append(columns["0.1/x_adv"])
        with torch.no_grad():
            prediction = subject.network(torch.from_numpy(columns["0.1/x_adv"])).argmax(1)
        assert prediction.tolist() == columns["0.1/prediction"].tolist()
    np.testing.assert_array_equal(*images)


def test_transfer_attacks_at_full_strength_whatever_the_source_makes_of_an_image(make_subject: MakeSubject):
    """Also images that the source gets wrong, and on after the source is fooled: x' is the last iterate."""
    source, target = make_subject("source", seed=1), make_subject("target")
    (task,) = plan_transfers([source], [target], lambda _: Suite("mine", (PGD,)), seed=0)
    assert task.spec.attack_kwargs()["early_stop"] is False
    sweep([task], save_images=True).run()
    columns = arrays(target.run)[events(target.run, "cell")[-1]["key"]]
    with torch.no_grad():
        wrong = (source.network(source.split.x / 255).argmax(1) != source.split.y).numpy()
    assert wrong.sum() == 3
    assert (columns["0.1/norm"][wrong] > 0.05).all()
    assert (columns["0.1/backwards"] == 5).all()


def test_blocks_that_only_one_target_has_are_done_again(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    """A kill between the blocks of two targets."""
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    source, one, two = make_subject("source", seed=1), make_subject("one"), make_subject("two", seed=2)
    plan = plan_transfers([source], [one, two], lambda _: Suite("mine", (PGD,)), seed=0)

    def kill(row: dict[str, Any]) -> None:
        if row["event"] == "sweep_block" and row["run"] == "one" and row["done"] == 32:
            raise Killed

    with pytest.raises(Killed):
        sweep(plan, on_row=kill).run()
    sweep(plan).run()
    for subject in (one, two):
        columns = arrays(subject.run)[events(subject.run, "cell")[-1]["key"]]
        assert columns["label"].tolist() == source.split.y.tolist()


def test_the_matrix_leaves_the_diagonal_out(make_subject: MakeSubject):
    subjects = [make_subject(name, seed=number) for number, name in enumerate("abc")]
    plan = plan_transfers(subjects, subjects, lambda _: Suite("mine", (FGSM,)), seed=0)
    pairs = [(task.source.name, target.name) for task in plan for target in task.targets]
    assert sorted(pairs) == [(a, b) for a in "abc" for b in "abc" if a != b]


def test_results_hold_every_cell_and_can_be_made_again(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, PGD), save_images=True).run()
    before = subject.run.results_path.read_bytes()
    assert results_file.build(subject.run).read_bytes() == before
    with h5py.File(subject.run.results_path) as file:
        cell = file["attacks/pgd_linf/0.1"]
        assert cell.attrs["n"] == N
        assert json.loads(cell.attrs["spec"])["steps"] == 5
        assert np.isinf(cell["distance"][:]).mean() == cell.attrs["accuracy"]
        assert cell["x_adv"].shape == (N, 1, 4, 4)


def shown(run: Run, attack: str = "pgd_linf") -> dict[str, tuple[int, int]]:
    """Epsilon -> the images and the steps of what results.h5 shows of an attack."""
    with h5py.File(run.results_path) as file:
        cells = file[f"attacks/{attack}"]
        return {at: (cells[at].attrs["n"], json.loads(cells[at].attrs["spec"])["steps"]) for at in cells}


WHOLE = {"0.05": (N, 5), "0.1": (N, 5)}


def test_a_quick_look_takes_no_place(make_subject: MakeSubject):
    subject = make_subject()
    few, weak = tasks(subject, PGD, limit=10), tasks(subject, spec("pgd_linf", (0.0, 0.1), steps=1))
    weak = [replace(task, changed=("steps",)) for task in weak]
    sweep(tasks(subject, PGD)).run()
    for look in (few, weak):
        looked = sweep(look)
        assert len(looked.run()) > 0
        assert {(run, row["key"]) for run, row, _ in looked.cells.not_selected()} == {
            ("model", row["key"]) for row in looked.cells.finished("model")
        }
        assert shown(subject.run) == WHOLE
        assert not sweep(tasks(subject, PGD)).cells.not_selected()
    assert Record.of(subject.run).clean()["n"] == N


def test_a_repeated_sweep_brings_its_result_back(make_subject: MakeSubject):
    """Also where there is nothing left to do."""
    subject = make_subject()
    other = tasks(subject, spec("pgd_linf", GRID, steps=3))
    sweep(tasks(subject, PGD)).run()
    sweep(other).run()
    assert shown(subject.run) == {"0.05": (N, 3), "0.1": (N, 3)}
    again = sweep(tasks(subject, PGD))
    assert not again.cells.pending_tasks()
    again.run()
    assert shown(subject.run) == WHOLE
    assert not again.cells.not_selected()
    journal = subject.run.journal_path.read_bytes()
    sweep(tasks(subject, PGD)).run()
    assert subject.run.journal_path.read_bytes() == journal


def test_one_epsilon_after_a_sweep_adds_a_point(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, PGD)).run()
    sweep(
        [replace(task, changed=("epsilons",)) for task in tasks(subject, spec("pgd_linf", (0.0, 0.07), steps=5))]
    ).run()
    assert shown(subject.run) == WHOLE | {"0.07": (N, 5)}


def facts(run: Run) -> list[tuple[dict[str, Any], dict[str, list[Any]]]]:
    """The cells that count and their columns, without what time and the chance of a stop decide."""
    found = []
    for cell in (cell for curve in Record.of(run).curves.values() for cell in curve.cells):
        of_cell = f"{cell['epsilon']:g}/"
        columns = {name: array.tolist() for name, array in shards.read(run, cell["shard"]).items()}
        own = {name: column for name, column in columns.items() if name.startswith(of_cell) or "/" not in name}
        found.append(({key: value for key, value in cell.items() if key not in ("t", "seconds", "shard")}, own))
    return found


def assert_finishes_alike(plan: list[Task], cut: Callable[[list[list[bytes]]], Iterator[None]]) -> None:
    """Fails where a sweep whose journals `cut` has shortened does not end as the uninterrupted one did."""
    runs = [target.run for target in {target.name: target for task in plan for target in task.targets}.values()]
    rows = sweep(plan).run()
    whole = [facts(run) for run in runs]
    for _ in cut([run.journal_path.read_bytes().splitlines(keepends=True) for run in runs]):
        again = sweep(plan)
        assert again.run().keys() == rows.keys()
        assert [facts(run) for run in runs] == whole
        assert sweep_curves(again.cells.tasks, again.cells.rows)


def test_a_sweep_cut_at_any_line_resumes_to_the_same_results(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    """As where a machine loses power: whole lines are lost, some of an attack's cells too."""
    monkeypatch.setattr(results_file, "build", lambda run: None)
    subject = make_subject()
    ddn, mim = spec("ddn", (0.0, 0.3, 0.8), steps=2), spec("mim", GRID, steps=2, schedule="descending")

    def cut(journals: list[list[bytes]]) -> Iterator[None]:
        for kept in range(len(journals[0])):
            subject.run.journal_path.write_bytes(b"".join(journals[0][:kept]))
            yield

    assert_finishes_alike(tasks(subject, PGD, FGSM, ddn, mim), cut)


def test_a_transfer_cut_at_any_line_of_one_target_resumes_to_the_same_results(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(results_file, "build", lambda run: None)
    source, one, two = make_subject("source", seed=1), make_subject("one"), make_subject("two", seed=2)

    def cut(journals: list[list[bytes]]) -> Iterator[None]:
        for place, run in enumerate((one.run, two.run)):
            for kept in range(len(journals[place])):
                run.journal_path.write_bytes(b"".join(journals[place][:kept]))
                yield

    assert_finishes_alike(plan_transfers([source], [one, two], lambda _: Suite("mine", (FGSM,)), seed=0), cut)


def test_blocks_that_a_kill_left_of_a_finished_attack_are_removed(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "BLOCK_SECONDS", 0.0)
    subject = make_subject()
    monkeypatch.setattr(PartialResultStore, "clear", lambda *_: None)
    sweep(tasks(subject, PGD)).run()
    assert len(list(subject.run.shards.glob("block-*"))) == 2
    monkeypatch.undo()
    sweep(tasks(subject, PGD, FGSM)).run()
    assert not list(subject.run.shards.glob("block-*"))


def test_all_cells_of_an_attack_are_one_write(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    subject = make_subject()
    written: list[list[str]] = []
    write = Journal.extend

    def extend(journal: Journal, rows: Any) -> None:
        rows = list(rows)
        written.append([row["event"] for row in rows])
        write(journal, rows)

    monkeypatch.setattr(Journal, "extend", extend)
    sweep(tasks(subject, PGD)).run()
    assert [events for events in written if "cell" in events] == [["cell", "cell"]]


def test_a_long_journal_is_read_a_few_times_only(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    subject = make_subject()
    read: list[int] = []
    read_bytes = JournalReader._read_bytes

    def counted(reader: JournalReader, limit: int) -> bytes | None:
        read.append(reader.offset)
        return read_bytes(reader, limit)

    with subject.run.open_journal() as journal:
        journal.append("warning", message="of before")
    monkeypatch.setattr(JournalReader, "_read_bytes", counted)
    # as for a file of more than a chunk, whose time of change is trusted
    monkeypatch.setattr(cache, "CHUNK", 0)
    sweep(tasks(subject, PGD, FGSM)).run()
    assert read.count(0) <= 3


def test_saved_images_are_not_read_back(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    subject = make_subject()
    work = sweep(tasks(subject, FGSM, spec("aa", (0.0, 0.1), steps=1, targets=1, queries=1)), save_images=True)
    rows = work.run()
    taken: list[str] = []
    take = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset, "__getitem__", lambda data, *key, **more: taken.append(data.name) or take(data, *key, **more)
    )
    results_file.build(subject.run)
    (_, of_aa) = sweep_curves(work.cells.tasks, rows)["model"]
    assert list(of_aa.parts or ()) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert taken
    assert not [name for name in taken if "x_adv" in name]


def test_results_that_are_missing_or_old_are_made_again(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, FGSM)).run()
    whole = subject.run.results_path.read_bytes()
    subject.run.results_path.unlink()
    sweep(tasks(subject, FGSM)).run()
    assert subject.run.results_path.read_bytes() == whole
    with subject.run.open_journal() as journal:
        journal.append("warning", message="later")
    sweep(tasks(subject, FGSM)).run()
    with h5py.File(subject.run.results_path) as file:
        assert file.attrs["log_offset"] == subject.run.journal_path.stat().st_size


def test_saved_images_are_those_that_were_judged(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, PGD), save_images=True).run()
    columns = next(iter(arrays(subject.run).values()))
    x = subject.split.x / 255
    x_adv = torch.from_numpy(columns["0.1/x_adv"])
    norm = (x_adv - x).flatten(1).abs().amax(1)
    np.testing.assert_allclose(norm, columns["0.1/norm"])
    assert norm.max() <= 0.1 * (1 + 1e-5)


def test_images_that_were_not_kept_are_made_again(make_subject: MakeSubject):
    subject = make_subject()
    sweep(tasks(subject, FGSM)).run()
    assert len(sweep(tasks(subject, FGSM), save_images=True).cells.pending_tasks()) == 1
    sweep(tasks(subject, FGSM), save_images=True).run()
    assert not sweep(tasks(subject, FGSM)).cells.pending_tasks()
    assert not sweep(tasks(subject, FGSM), save_images=True).cells.pending_tasks()


@pytest.mark.parametrize("lose", [Path.unlink, lambda shard: shard.write_bytes(shard.read_bytes()[:-1])])
def test_a_lost_or_damaged_shard_is_made_again(make_subject: MakeSubject, lose: Callable[[Path], object]):
    subject = make_subject()
    sweep(tasks(subject, FGSM)).run()
    for shard in Path(subject.run.shards).iterdir():
        lose(shard)
    assert len(sweep(tasks(subject, FGSM)).cells.pending_tasks()) == 1
