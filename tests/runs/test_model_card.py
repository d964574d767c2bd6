"""Test the card that is written of a run, from journals written by hand."""

from pathlib import Path
from typing import Any

import pytest

from afdctl.errors import NotFoundError
from afdctl.runs.describe_model import describe
from afdctl.runs.model_card import ModelCard
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from tests.journals import BEGIN, CHECKPOINT, PROVENANCE, Row, end, epoch, final_test, resumed, swept, written

FACTS = PROVENANCE | {"device_name": "X86"}
SAVED = {"event": "checkpoint", "step": 20, "epoch": 2, "file": "f.pt", "digest": CHECKPOINT, "best": True}


def run_of(root: Path, *rows: Row, **facts: Any) -> Run:
    return written(root, "run", rows or [epoch(1), epoch(2), SAVED, final_test(), end()], provenance=FACTS | facts)


def card_of(run: Run, digest: str = CHECKPOINT) -> ModelCard:
    return describe(Record.of(run), digest=digest, weights=b"weights", parameters=7, limits=None)


def test_a_card_has_the_attacks_at_the_epsilon_of_the_training(tmp_path: Path):
    run = run_of(tmp_path)
    swept(run, {0.05: 0.9, 0.1: 0.8}, "pgd_linf")
    swept(run, {0.1: 0.7, 0.2: 0.1})
    swept(run, {0.1: 0.9}, "pgd_l2", norm="l2")
    card = card_of(run)
    assert [(metric.attack, metric.epsilon, metric.accuracy, metric.n) for metric in card.metrics] == [
        ("clean", 0.0, 0.95, 360),
        ("PGD-40 linf 0.1", 0.1, 0.6, 360),
        ("pgd_linf", 0.1, 0.8, 100),
        ("aa", 0.1, 0.7, 100),
    ]
    # Wilson's interval of 70 of 100
    assert (card.metric("aa").low, card.metric("aa").high) == pytest.approx((0.60415, 0.78105), abs=1e-5)
    training = card.training
    assert (training.run, training.steps, training.images, training.device) == ("run", 600, 1237, "cpu X86")


def test_a_pause_before_a_resume_is_no_training_time(tmp_path: Path):
    times = {"stopped": 60, "resumed": 1000, "epoch": 1030, "end": 1060}
    rows = [
        epoch(1) | {"t": BEGIN + 30},
        SAVED | {"step": 10, "epoch": 1, "t": BEGIN + 31},
        end("stopped") | {"t": BEGIN + times["stopped"]},
        resumed(10, 1) | {"t": BEGIN + times["resumed"]},
        epoch(2) | {"t": BEGIN + times["epoch"]},
        SAVED | {"t": BEGIN + 1031},
        final_test() | {"t": BEGIN + 1059},
        end() | {"t": BEGIN + times["end"]},
    ]
    run = run_of(tmp_path, *rows)
    swept(run, {0.1: 0.7})
    assert card_of(run).training.minutes == 2.0


def test_autoattack_must_be_of_the_weights_and_at_full_strength(tmp_path: Path):
    run = run_of(tmp_path)
    swept(run, {0.2: 0.7})
    with pytest.raises(NotFoundError, match=r"no AutoAttack with its own settings at L∞ 0\.1 on the best checkpoint"):
        card_of(run)
    swept(run, {0.1: 0.7})
    assert card_of(run).metric("aa").accuracy == 0.7
    with pytest.raises(NotFoundError, match="no AutoAttack"):
        card_of(run, digest="0" * 64)
    for weaker in ({"precision": "bf16"}, {"changed": ["queries"]}, {"source": "other"}):
        record = Record.of(run)
        rows = [row | weaker if row["event"] == "cell" else row for row in record.rows]
        with pytest.raises(NotFoundError, match="no AutoAttack"):
            describe(
                Record(run=run, recipe=record.recipe, rows=rows),
                digest=CHECKPOINT,
                weights=b"",
                parameters=7,
                limits=None,
            )


@pytest.mark.parametrize(
    ("rows", "facts", "message"),
    [
        ([epoch(1), SAVED, end("stopped")], {}, "run: stopped in epoch 1 of 60; finish it with `afdctl train --resume"),
        ([SAVED, end("imported")], {"kind": "imported"}, "run: this run is imported, not trained; a card describes"),
    ],
)
def test_a_run_that_was_not_trained_to_its_end(tmp_path: Path, rows: list[Row], facts: Row, message: str):
    with pytest.raises(NotFoundError, match=message):
        card_of(run_of(tmp_path, *rows, **facts))
