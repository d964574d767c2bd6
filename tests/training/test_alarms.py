"""Test the alarms of a training: when each is raised, and that a healthy training has none."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from afdctl import recipe
from afdctl.journal import read_rows
from afdctl.runs.alarms import ALARMS, format_alarm
from afdctl.training.alarms import SHORTEST, AlarmDetector
from tests.conftest import short, train

Row = dict[str, Any]
HEALTHY = {"acc_adv": 0.6, "alpha_h": 1.2, "alpha_h_calibrated": 1.1, "grad_D": 0.05, "fraction_unchanged": 0.0}
VALID = {"acc_nat": 0.95, "acc_adv": 0.6, "n": 500}


def detector(name: str = "digits_dcgan", *overrides: str) -> AlarmDetector:
    return AlarmDetector(recipe.load(name, ["attack.epsilon_warmup_epochs=0", *overrides]), steps_total=100, classes=10)


def steps(count: int = SHORTEST, **metrics: float) -> list[Row]:
    return [{"event": "step", "step": number, **HEALTHY, **metrics} for number in range(1, count + 1)]


def epochs(watch: AlarmDetector, *measured: tuple[float, float], **fields: float) -> list[Row]:
    """Feed epochs of (training, hold-out) accuracy under attack."""
    raised, best = [], dict[str, Any]()
    for number, (trained, robust) in enumerate(measured, 1):
        raised += watch.of_steps(steps(10, acc_adv=trained))
        row = {"epoch": number, "step": 10 * number, **VALID, "acc_adv": robust, **fields}
        best = row if robust > best.get("acc_adv", 0.0) else best
        raised += watch.of_epoch(row, best)
    return raised


def names(rows: list[Row]) -> list[str]:
    return [row["name"] for row in rows]


def test_a_healthy_training_has_no_alarm():
    watch = detector()
    rising = [(0.1, 0.05), (0.3, 0.35), (0.5, 0.5), (0.6, 0.55), (0.65, 0.53), (0.7, 0.56)]
    assert epochs(watch, *rising, logit_margin=5.0, acc_apgd_t=0.51, acc_probe=0.5) == []
    assert watch.of_steps(steps(10 * SHORTEST)) == []


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("discriminator_saturated", {"alpha_h": 1.96}),
        ("discriminator_saturated", {"alpha_h": 0.04}),
        ("discriminator_dead", {"grad_D": 1e-8}),
        ("unchanged_images", {"fraction_unchanged": 0.5}),
    ],
)
def test_a_bad_block_of_steps_raises_its_alarm_once_per_episode(name: str, metrics: Row):
    watch = detector()
    raised = watch.of_steps(steps(3 * SHORTEST, **metrics))
    assert names(raised) == [name]
    assert raised[0]["step"] == SHORTEST
    assert watch.of_steps(steps(SHORTEST)) == []
    assert names(watch.of_steps(steps(SHORTEST, **metrics))) == [name]


def test_a_loss_far_above_chance_is_an_alarm_from_the_second_block_on():
    wild = steps(3 * SHORTEST, L_C=5.0)
    (row,) = detector("digits_at").of_steps(wild)
    assert (row["name"], row["step"], row["value"]) == ("loss_above_chance", 2 * SHORTEST, 5.0)
    assert row["threshold"] == pytest.approx(2 * math.log(10))
    assert "lower defense.lr_C" in format_alarm(row)
    assert detector("digits_at").of_steps(steps(3 * SHORTEST, L_C=4.5)) == []
    # the margin of HE raises the loss of equal logits
    assert detector("digits_at", "model.cosine_scale=15", "defense.margin=0.2").of_steps(wild) == []


def test_a_critic_is_judged_at_its_best_threshold():
    assert detector("digits_wgan").of_steps(steps(alpha_h=2.0)) == []
    assert names(detector("digits_wgan").of_steps(steps(alpha_h_calibrated=2.0))) == ["discriminator_saturated"]


def test_catastrophic_overfitting_is_a_collapse_that_the_training_does_not_see():
    assert names(epochs(detector(), (0.4, 0.4), (0.5, 0.5), (0.9, 0.1), (0.9, 0.0))) == ["catastrophic_overfitting"]
    # from the start, without an epoch that was better
    assert names(epochs(detector(), (0.4, 0.03))) == ["catastrophic_overfitting"]
    # the training sees it too: unstable, but not overfitting
    assert epochs(detector(), (0.5, 0.5), (0.2, 0.1)) == []
    # of one episode, although the hold-out is above the limit in between
    assert names(epochs(detector(), (0.4, 0.03), (0.4, 0.06), (0.4, 0.03))) == ["catastrophic_overfitting"]


def test_overfitting_says_what_the_best_checkpoint_is_worth():
    (collapsed,) = epochs(detector(), (0.4, 0.4), (0.5, 0.5), (0.9, 0.1))
    assert format_alarm(collapsed).endswith("; `best` is of epoch 2, with 50.0% of the hold-out under attack")
    (from_the_start,) = epochs(detector(), (0.4, 0.03))
    end = "; `best` is of epoch 1, with 3.0% of the hold-out under attack, which no later epoch has exceeded"
    assert format_alarm(from_the_start).endswith(end)


def test_no_comparison_with_the_hold_out_before_the_ball_has_its_size():
    watch = detector("digits_dcgan", "attack.epsilon_warmup_epochs=2")
    assert epochs(watch, (0.9, 0.02), (0.9, 0.02)) == []


def test_robust_overfitting_is_a_fall_of_the_hold_out_beyond_chance():
    overfitting = [(0.5, 0.5), (0.6, 0.48), (0.8, 0.4), (0.85, 0.38)]
    raised = epochs(detector(), *overfitting)
    assert names(raised) == ["robust_overfitting"]
    # three standard deviations at 0.5 on 500 images
    assert raised[0]["threshold"] == pytest.approx(0.067, abs=0.001)
    assert raised[0]["value"] == pytest.approx(0.1)
    assert epochs(detector(), (0.5, 0.5), (0.45, 0.4)) == []
    # on few images the same fall may be chance
    assert epochs(detector(), *overfitting[:3], n=50) == []


def test_the_logit_scale_matters_where_an_adversary_trains():
    assert names(epochs(detector(), (0.5, 0.5), logit_margin=20.0)) == ["logit_scale"]
    assert epochs(detector("digits_nt"), (0.5, 0.5), logit_margin=20.0) == []


def test_square_below_the_gradient_attacks_is_an_alarm():
    raised = epochs(detector(), (0.5, 0.5), acc_apgd_t=0.5, acc_probe=0.4)
    assert names(raised) == ["square_beats_gradients"]
    assert "Square fools 10.0 % of the hold-out" in format_alarm(raised[0])


def test_the_state_survives_a_resume():
    whole, first, second = detector(), detector(), detector()
    rows = steps(4 * SHORTEST, fraction_unchanged=0.5)
    expected = whole.of_steps(rows)
    before = first.of_steps(rows[: SHORTEST + 7])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + second.of_steps(rows[SHORTEST + 7 :]) == expected
    assert second.state_dict() == whole.state_dict()


def test_every_alarm_says_what_to_do():
    for name, alarm in ALARMS.items():
        row = {"name": name, "value": 0.5, "threshold": alarm.threshold, "advice": alarm.advice}
        assert alarm.title in format_alarm(row)
        assert format_alarm(row).endswith(alarm.advice)
    newer = {"name": "unknown", "value": 0.5, "threshold": 0.1, "advice": "do this"}
    assert format_alarm(newer) == "unknown: 0.5 (threshold 0.1); do this"


# FGSM-RS without averages at a large epsilon: its one step stops attacking (docs/baselines.md)
COLLAPSE = (
    *("attack.epsilon=0.3", "attack.steps=1", "attack.step_size=0.6", "train.epochs=20", "train.batch_size=32"),
    *("train.milestones=[]", "train.ema_decay=0"),
    *("model.encoder=lenet", "model.width=32", "data.holdout=100", "validation.steps=10"),
)


def alarms_of(folder: Path, name: str, *overrides: str) -> list[str]:
    run = train(short(name, "attack.epsilon_warmup_epochs=0", *overrides), folder)
    return names([row for row in read_rows(run.journal_path) if row["event"] == "alarm"])


@pytest.mark.slow
def test_the_collapse_of_fgsm_rs_is_caught(tmp_path: Path):
    assert alarms_of(tmp_path, "digits_fgsm_rs", *COLLAPSE) == ["catastrophic_overfitting"]


def test_a_training_journals_its_alarms(tmp_path: Path):
    # x' = x for every image that the attack did not fool
    weak = ("attack.return_iterate=last_success", "attack.epsilon=0.001", "attack.steps=1", "train.epochs=30")
    weak += ("model.encoder=lenet",)
    assert alarms_of(tmp_path, "digits_at", *weak) == ["unchanged_images"]
