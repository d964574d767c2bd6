"""Test the batch size and the time estimate of an evaluation."""

from collections.abc import Callable

import pytest

from afdctl.attacks.base import AttackResult
from afdctl.evaluation import survivors, time_estimate
from afdctl.evaluation.plan import Task, plan_white_box
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from tests.evaluation.conftest import MakeSubject

SPECS = [ATTACKS["pgd_linf"](name="pgd_linf", epsilons=(0.0, 0.1))]


def clock(monkeypatch: pytest.MonkeyPatch, of_size: dict[int, float]) -> list[int]:
    """Let steps of these batches take these seconds; returns the list of those that were taken."""
    taken: list[int] = []

    def attack_step(subject: object, size: int, precision: str = "float32") -> Callable[[], int]:
        return lambda: size

    def seconds(work: Callable[[], int]) -> float:
        taken.append(work())
        return of_size[taken[-1]]

    monkeypatch.setattr(time_estimate, "attack_step", attack_step)
    monkeypatch.setattr(time_estimate, "measure_seconds", seconds)
    return taken


@pytest.mark.parametrize(
    ("of_size", "chosen"),
    [
        ({128: 0.05, 256: 0.09, 512: 0.16}, 512),
        ({128: 0.05, 256: 0.08, 512: 0.19}, 256),
        ({128: 0.05, 256: 0.11, 512: 0.25}, 128),
        ({128: 0.05, 256: 0.098, 512: 0.196}, 128),
    ],
)
def test_the_fastest_batch_for_a_sample_is_taken(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, of_size: dict[int, float], chosen: int
):
    clock(monkeypatch, of_size)
    assert time_estimate.choose_batch_size(make_subject(), 1000, SPECS) == chosen


def test_nothing_is_tried_that_the_images_do_not_fill(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    taken, subject = clock(monkeypatch, {128: 0.05, 256: 0.01, 512: 0.001}), make_subject()
    assert time_estimate.choose_batch_size(subject, 300, SPECS) == 256
    assert 512 not in taken
    taken.clear()
    assert time_estimate.choose_batch_size(subject, 200, SPECS) == 128
    assert not taken


def test_a_slow_network_is_asked_little(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    taken = clock(monkeypatch, {128: 2.0, 256: 0.1, 512: 0.1})
    assert time_estimate.choose_batch_size(make_subject(), 1000, SPECS) == 128
    assert set(taken) == {128}


@pytest.mark.parametrize("name", ["aa", "apgd_ce", "apgd_l1", "apgd_t", "square"])
def test_an_attack_whose_results_depend_on_the_batch_has_the_same_always(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, name: str
):
    taken = clock(monkeypatch, {128: 0.05, 256: 0.01, 512: 0.001})
    assert (
        time_estimate.choose_batch_size(make_subject(), 1000, [*SPECS, ATTACKS[name](name=name, epsilons=(0.0, 0.1))])
        == 128
    )
    assert not taken


def test_a_batch_that_does_not_fit_is_not_taken(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    subject = make_subject()
    clock(monkeypatch, {128: 0.05, 256: 0.08, 512: 0.01})
    monkeypatch.setattr(time_estimate, "fits_in_memory", lambda work: work() < 512)
    assert time_estimate.choose_batch_size(subject, 1000, SPECS) == 256
    monkeypatch.setattr(time_estimate, "fits_in_memory", lambda work: False)
    assert time_estimate.choose_batch_size(subject, 1000, SPECS) == 128


def test_full_memory_is_distinguished_from_other_errors():
    def full() -> None:
        raise MemoryError

    def broken() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    assert not time_estimate.fits_in_memory(full)
    with pytest.raises(RuntimeError):
        time_estimate.fits_in_memory(broken)


def task_of(
    subject: EvaluationTarget, name: str, epsilons: tuple[float, ...] = (0.0, 0.05, 0.1), **knobs: int | str
) -> Task:
    suite = Suite("mine", (ATTACKS[name](name=name, epsilons=epsilons, **knobs),))
    (task,) = plan_white_box([subject], lambda _: suite, seed=0)
    return task


@pytest.mark.parametrize(
    ("name", "knobs", "seconds"),
    [
        # n = 40 images; a forward pass takes 1 second, a backward pass 2 more
        ("pgd_linf", {"steps": 5}, 40 * 2 * (6 * 1 + 5 * 2)),
        ("ddn", {"steps": 5}, 40 * (5 * 1 + 5 * 2)),
        ("fgsm", {}, 40 * 2 * (2 * 1 + 1 * 2)),
    ],
)
def test_the_estimate_is_of_all_passes_and_of_what_an_attack_adds(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, name: str, knobs: dict[str, int], seconds: float
):
    subject = make_subject()
    monkeypatch.setattr(time_estimate, "pass_seconds", lambda *_: (1.0, 2.0))
    monkeypatch.setattr(time_estimate, "_overhead", lambda *_, **__: 1.5)
    task = task_of(subject, name, **knobs)
    assert time_estimate.estimate_seconds([task], 16) == {(name, "model"): 1.5 * seconds}


@pytest.mark.parametrize("name", ["fgsm", "ddn", "apgd_ce", "aa"])
def test_what_an_attack_adds_is_measured_by_a_short_trial(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Where its trial takes 3 times as long as its passes, so does the attack."""
    task = task_of(make_subject(), name)
    spent: list[float] = []
    search = time_estimate.search

    def counted(*arguments: object, **options: object) -> dict[float, AttackResult]:
        found = search(*arguments, **options)
        spent[:] = [sum(float(one.forwards.sum() + 2 * one.backwards.sum()) for one in found.values())]
        return found

    def timed(work: Callable[[], None]) -> float:
        work()
        return 3 * 1e-5 * spent[0]

    monkeypatch.setattr(time_estimate, "search", counted)
    monkeypatch.setattr(time_estimate, "fastest_seconds", timed)
    for part in task.spec.parts() if name == "aa" else [task.spec]:
        assert time_estimate._overhead(task, part, 16, forward=1e-5, backward=2e-5) == pytest.approx(3)
    assert time_estimate._overhead(task, task.spec, 16, forward=1.0, backward=2.0) == 1, (
        "a slow network leaves no time for trials"
    )


def test_a_real_model_is_measured(make_subject: MakeSubject):
    assert time_estimate.choose_batch_size(make_subject(), 1000, SPECS) in time_estimate.CPU_BATCH_SIZES


def test_a_few_images_cost_whole_calls(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    """A call takes 1 second and 0.01 more for each image: 100 images in one call take 2 seconds, not 100."""

    def pass_seconds(_: object, size: int, *__: object) -> tuple[float, float]:
        return (1 + 0.01 * size) / size, 0.0

    monkeypatch.setattr(time_estimate, "pass_seconds", pass_seconds)
    monkeypatch.setattr(time_estimate, "_overhead", lambda *_, **__: 1.0)
    task = task_of(make_subject(), "fgsm", (0.0, 0.1))
    # 2 forward passes of batches of 16, 16 and 8 images
    assert time_estimate.estimate_seconds([task], 16) == {("fgsm", "model"): pytest.approx(2 * (3 + 0.4))}
    monkeypatch.setattr(time_estimate, "attacked_shares", lambda _: [(1.0, 0.25)])
    task = task_of(make_subject(), "aa", (0.0, 0.1))
    first, *others = (part.passes(task.source.classes)[0] for part in task.spec.parts())
    seconds = first * (3 + 0.4) + sum(others) * (3 + 0.1)
    assert time_estimate.estimate_seconds([task], 16) == {("aa", "model"): pytest.approx(seconds)}


def test_each_precision_of_a_network_is_timed(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    def pass_seconds(_: object, size: int, precision: str) -> tuple[float, float]:
        return {"float32": 2.0, "bf16": 1.0}[precision] / size, 0.0

    monkeypatch.setattr(time_estimate, "pass_seconds", pass_seconds)
    monkeypatch.setattr(time_estimate, "_overhead", lambda *_, **__: 1.0)
    subject = make_subject()
    tasks = [task_of(subject, "fgsm").with_precision("bf16"), task_of(subject, "mim").with_precision("float32")]
    per_pass = [
        seconds / task.spec.passes(subject.classes)[0]
        for task, seconds in zip(tasks, time_estimate.estimate_seconds(tasks, 1000).values(), strict=True)
    ]
    assert per_pass[1] == pytest.approx(2 * per_pass[0])


@pytest.mark.parametrize("order", ["descending", "ascending", "independent"])
def test_images_that_fall_early_are_spared_the_later_parts(make_subject: MakeSubject, order: str):
    task = task_of(make_subject(), "aa", (0.0, 1e-6, 0.5), schedule=order)
    small, large = survivors.attacked_shares(task)
    if order == "descending":
        assert small[0] == small[1] > 0
        assert large[1] < large[0]
    if order == "independent":
        assert small[0] == large[0] == small[1] > large[1]
    if order == "ascending":
        assert small == (small[0], large[0])
