"""The batch of an evaluation."""

from collections.abc import Callable

import pytest

from afdctl.sweep import cost
from tests.sweep.conftest import MakeSubject


def clock(monkeypatch: pytest.MonkeyPatch, of_size: dict[int, float]) -> list[int]:
    """Let steps of these batches take these seconds; returns the list of those that were taken."""
    taken: list[int] = []

    def attack_step(subject: object, size: int) -> Callable[[], int]:
        return lambda: size

    def seconds(work: Callable[[], int]) -> float:
        taken.append(work())
        return of_size[taken[-1]]

    monkeypatch.setattr(cost, "attack_step", attack_step)
    monkeypatch.setattr(cost, "seconds", seconds)
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
    assert cost.batch_size_for(make_subject(), 1000) == chosen


def test_nothing_is_tried_that_the_images_do_not_fill(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    taken, subject = clock(monkeypatch, {128: 0.05, 256: 0.01, 512: 0.001}), make_subject()
    assert cost.batch_size_for(subject, 300) == 256
    assert 512 not in taken
    taken.clear()
    assert cost.batch_size_for(subject, 200) == 128
    assert not taken


def test_a_slow_network_is_asked_little(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    taken = clock(monkeypatch, {128: 2.0, 256: 0.1, 512: 0.1})
    assert cost.batch_size_for(make_subject(), 1000) == 128
    assert set(taken) == {128}


def test_a_real_model_is_measured(make_subject: MakeSubject):
    assert cost.batch_size_for(make_subject(), 1000) in cost.BATCHES
