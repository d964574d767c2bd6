"""Each indicator D1 to D10 on results made by hand."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from afdctl.analysis import comparisons, validity
from afdctl.analysis.attack_evidence import AttackEvidence
from afdctl.analysis.evidence import Evidence
from afdctl.attacks.base import NO_CLASS
from afdctl.errors import RecipeError
from afdctl.evaluation import thresholds
from afdctl.evaluation.sanity_checks import Measures
from afdctl.suites import load

N = 100
LIMITS = thresholds.defaults()


def attack(
    name: str,
    fooled: dict[float, range],
    *,
    claimed: int = 0,
    norm: float = 1.0,
    part: int = -1,
    step: int = 1,
    backwards: int = 100,
    **more: Any,
) -> AttackEvidence:
    """An attack that fools these images at each epsilon, after `step` steps."""
    columns: dict[str, Any] = {}
    for epsilon, images in fooled.items():
        hit = np.isin(np.arange(N), list(images))
        first = np.where(hit, step, -1)
        first[N - claimed :] = step
        columns |= {
            f"{epsilon:g}/distance": np.where(hit, epsilon, np.inf),
            f"{epsilon:g}/norm": np.full(N, norm * epsilon),
            f"{epsilon:g}/first_success": first,
            f"{epsilon:g}/prediction": np.zeros(N, int),
            f"{epsilon:g}/part": np.where(hit, part, -1),
            f"{epsilon:g}/backwards": np.full(N, backwards),
        }
    facts = {"title": name, "source": None, "schedule": "ascending", "spec": {"name": name, "steps": 100} | more}
    return AttackEvidence(name=name, epsilons=tuple(fooled), columns=columns, **facts)  # type: ignore[arg-type]


def evidence(*attacks: AttackEvidence) -> Evidence:
    labels = np.arange(N) % 10
    return Evidence(run="run", norm="linf", attacks=attacks, labels=labels, clean=labels)


def independent(found: AttackEvidence) -> AttackEvidence:
    return AttackEvidence(**{**vars(found), "schedule": "independent"})


def check(**changed: Any) -> dict[str, Any]:
    sound = Measures(
        n=128,
        classes=10,
        correct=120,
        in_training=False,
        probabilities=False,
        passes=0.0,
        batch=1e-6,
        no_gradient=False,
        dead_margin=0,
        dead_ce=0,
        misled=0,
        flat=0,
        confidence=0.7,
    )
    return {"pixels": 64, "measures": asdict(sound) | changed}


PGD = attack("pgd_linf", {0.1: range(50), 0.2: range(80)}, rel_step=0.1, random_start=True)


def test_honest_results_pass_every_indicator():
    found = evidence(
        independent(attack("fgsm", {0.1: range(40), 0.2: range(60)})),
        PGD,
        attack("apgd_t", {0.1: range(52), 0.2: range(82)}),
        attack("deepfool", {0.1: range(48), 0.2: range(70)}),
        attack("square", {0.1: range(45), 0.2: range(70)}),
        attack("pgd_linf", {0.5: range(95)}, rel_step=0.1),
    )
    findings = [
        validity.invalid(found, LIMITS),
        validity.unstable(found, check(), LIMITS),
        validity.gradients(check(), LIMITS, misled=False),
        validity.unfinished(found, LIMITS),
        validity.not_monotone(found, LIMITS),
        comparisons.one_step(found, LIMITS),
        comparisons.loss_gap(found, {}, LIMITS),
        comparisons.gradient_free(found, LIMITS),
        comparisons.impossible(found, check(), LIMITS),
        comparisons.dominance(found, LIMITS),
    ]
    assert [(each.indicator, each.verdict) for each in findings] == [(f"D{number}", "ok") for number in range(1, 11)]


def test_without_data_an_indicator_says_what_it_needs():
    alone = evidence(attack("square", {0.1: range(50)}))
    for finding in (
        validity.unstable(alone, {}, LIMITS),
        validity.gradients({}, LIMITS, misled=False),
        validity.unfinished(alone, LIMITS),
        validity.not_monotone(alone, LIMITS),
        comparisons.one_step(alone, LIMITS),
        comparisons.loss_gap(alone, {}, LIMITS),
        comparisons.gradient_free(alone, LIMITS),
        comparisons.impossible(alone, check(), LIMITS),
        comparisons.dominance(alone, LIMITS),
    ):
        assert (finding.verdict, finding.value) == ("missing", None)
        assert finding.text.startswith("not measured: needs ")


def test_one_step_is_no_worst_case_for_pgd():
    found = evidence(attack("pgd_linf", {0.1: range(40)}), attack("fgsm", {0.1: range(50)}))
    assert comparisons.loss_gap(found, {}, LIMITS).verdict == "missing"


@pytest.mark.parametrize("fault", [{"claimed": 5}, {"norm": 1.01}])
def test_d1_refuted_successes_and_images_outside_the_ball(fault: dict[str, Any]):
    assert validity.invalid(evidence(attack("pgd_linf", {0.1: range(50)}, **fault)), LIMITS).verdict == "fail"


@pytest.mark.parametrize("fault", [{"passes": 0.1}, {"batch": 0.1}])
def test_d2_unstable(fault: dict[str, float]):
    assert validity.unstable(evidence(PGD), check(**fault), LIMITS).verdict == "fail"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_command_that_d2_advises_exists(norm: str):
    found = replace(evidence(PGD), norm=norm)
    _, _, text = validity.unstable(found, check(passes=0.1), LIMITS).text.partition("`afdctl attack run --attack ")
    name, _, epsilon, _, setting = text.rstrip("`)").split()
    assert float(epsilon) == 0.1
    (advised,) = load.load(load.DEFAULT, "digits", attacks=[name], epsilons=(0.0, 0.1), overrides=[setting]).attacks
    assert advised.evaluations == 20


def test_d2_advises_what_is_not_stored_yet_at_the_judged_epsilon():
    fgsm = attack("fgsm", {0.05: range(9), 8 / 255: range(9)})
    single = attack("pgd_linf", {8 / 255: range(50)})
    standard = attack("aa", {8 / 255: range(50)}, version="standard", eot=None)
    advice = "`afdctl attack run --attack pgd_linf --epsilon 8/255 --set eot=20`"
    assert advice in validity.unstable(evidence(fgsm, single, standard), check(passes=0.1), LIMITS).text
    averaging = attack("pgd_linf", {8 / 255: range(60)}, eot=20)
    finding = validity.unstable(evidence(fgsm, single, averaging), check(passes=0.1), LIMITS)
    assert finding.text.endswith("unless they average it (pgd_linf with eot=20 does, and leaves 40.0% at 8/255)")
    assert finding.verdict == "fail"


def test_an_overestimate_of_a_random_network_names_luck():
    found = evidence(PGD, attack("apgd_t", {0.1: range(88)}))
    luck = "38.0 points at 0.1; of a random network, the worst case also counts single unlucky passes"
    assert comparisons.loss_gap(found, check(passes=0.1), LIMITS).text.endswith(luck)


def test_at_the_epsilon_asked_for_nothing_else_is_judged():
    found = evidence(PGD, attack("apgd_t", {0.1: range(88), 0.2: range(81)}), attack("pgd_linf", {0.5: range(99)}))
    asked = replace(found, asked=0.2)
    finding = comparisons.loss_gap(asked, {}, LIMITS)
    assert finding.text == "PGD-CE overestimates robustness by 1.0 points at 0.2"
    nothing = comparisons.loss_gap(replace(found, asked=0.3), {}, LIMITS)
    assert nothing.text == "not measured: needs PGD and a second attack at 0.3"
    # the ball of D9 is its own
    assert comparisons.impossible(asked, check(), LIMITS).verdict == "ok"


@pytest.mark.parametrize(
    ("fault", "misled", "verdict"),
    [
        ({"dead_margin": 128}, False, "fail"),
        ({"dead_ce": 20}, False, "fail"),
        ({"no_gradient": True}, False, "fail"),
        ({"misled": 128}, False, "fail"),
        ({"misled": 60, "passes": 0.1}, False, "ok"),
        ({"flat": 50}, False, "fail"),
        ({"probabilities": True}, False, "fail"),
        ({"dead_ce": 2}, False, "ok"),
        # a certified network may have small logits, which matters only where they weaken PGD
        ({"confidence": 0.01}, False, "warn"),
        ({"confidence": 0.01}, True, "fail"),
    ],
)
def test_d3_gradients(fault: dict[str, Any], misled: bool, verdict: str):
    assert validity.gradients(check(**fault), LIMITS, misled=misled).verdict == verdict


def test_d4_steps_that_do_not_cross_the_ball_or_come_too_late():
    short = attack("pgd_linf", {0.1: range(50)}, rel_step=0.0133, random_start=True)
    assert validity.unfinished(evidence(short), LIMITS).verdict == "fail"
    late = attack("pgd_linf", {0.1: range(50)}, rel_step=0.1, step=95)
    assert validity.unfinished(evidence(late), LIMITS).verdict == "warn"


def test_d4_names_what_a_pgd_without_successes_lacks():
    few = "PGD or MIM that fools 3 images or more; those here fool fewer"
    for images in (range(0), range(2)):
        finding = validity.unfinished(evidence(attack("pgd_linf", {0.1: images}, rel_step=0.1)), LIMITS)
        assert (finding.verdict, finding.text) == ("missing", f"not measured: needs {few}")


def test_an_ok_beyond_its_threshold_is_explained():
    """Two images of 100 are more than each share of 0.01, but fewer than three."""
    low = thresholds.load(None, ["D7.warn=0.01", "D7.fail=0.01", "D10.warn=0.01", "D10.fail=0.01", "D4.late=0.1"])
    late = attack("pgd_linf", {0.1: range(9)}, rel_step=0.1)
    late.columns["0.1/first_success"][:2] = 95
    few, end = attack("apgd_t", {0.1: range(50)}), "; fewer than 3 images are a coincidence"
    findings = [
        validity.invalid(evidence(attack("pgd_linf", {0.1: range(50)}, claimed=2)), LIMITS),
        validity.gradients(check(dead_ce=2), LIMITS, misled=False),
        validity.unfinished(evidence(late), low),
        validity.not_monotone(evidence(independent(attack("pgd_linf", {0.1: range(9), 0.2: range(2, 9)}))), LIMITS),
        comparisons.one_step(evidence(attack("fgsm", {0.1: range(48, 52)}), PGD), LIMITS),
        comparisons.loss_gap(evidence(PGD, attack("apgd_t", {0.1: range(52)})), {}, low),
        comparisons.gradient_free(evidence(few, attack("square", {0.1: range(48, 52)})), LIMITS),
        comparisons.dominance(evidence(PGD, attack("deepfool", {0.1: range(52)})), low),
    ]
    for finding in findings:
        assert finding.value is not None
        assert finding.value > finding.threshold
        assert (finding.verdict, finding.text[-len(end) :]) == ("ok", end)


def test_a_share_equal_to_its_threshold_is_not_beyond_it():
    finding = comparisons.dominance(evidence(PGD, attack("deepfool", {0.1: range(55)})), LIMITS)
    # 0.5 - 0.45 is more than 0.05 in binary
    assert (finding.verdict, finding.value, finding.threshold) == ("warn", 0.05, LIMITS.D10.warn)
    assert not LIMITS.exceeded(29, 100, 0.29)


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({}, ("dead gradients", 0, "≤ 0.01", "ok")),
        ({"dead_margin": 128}, ("dead gradients", 1, "≤ 0.01", "fail")),
        # two images without a gradient are a coincidence; eight with a flat margin are the fault
        ({"dead_margin": 2, "flat": 8}, ("flat margin", 8 / 128, "≤ 0.05", "fail")),
        ({"misled": 1, "probabilities": True}, ("probabilities", 1, "≤ 0", "fail")),
        ({"misled": 1, "confidence": 0.0016}, ("equal outputs", 0.0016, "≥ 0.1", "fail")),
    ],
)
def test_d3_shows_the_condition_that_it_judges(fault: dict[str, Any], shown: tuple[str, float, str, str]):
    finding = validity.gradients(check(**fault), LIMITS, misled=True)
    assert (finding.name, finding.value, finding.bound, finding.verdict) == shown


def test_d3_does_not_say_where_the_gradients_of_a_random_network_lead():
    text = "every checked image has a gradient"
    assert validity.gradients(check(misled=60, passes=0.1), LIMITS, misled=False).text == text
    sound = validity.gradients(check(), LIMITS, misled=False)
    assert sound.text == f"{text}, and a step along it raises the loss"


def test_a_value_that_fails_is_on_the_wrong_side_of_its_threshold():
    short = attack("pgd_linf", {0.1: range(50)}, rel_step=0.0133, random_start=True)
    finding = validity.unfinished(evidence(short), LIMITS)
    assert (finding.value, finding.bound) == (pytest.approx(1.33), "≥ 2")
    assert finding.text.endswith(": its 100 steps reach 1.33 epsilon, and crossing the ball takes 2 epsilon")
    broken = attack("pgd_linf", {0.1: range(50)})
    broken.columns["0.1/prediction"][0] = NO_CLASS
    invalid = validity.invalid(evidence(broken), LIMITS)
    assert (invalid.verdict, invalid.value, invalid.bound) == ("fail", 0.01, "≤ 0")


def test_a_warning_shows_value_and_threshold_of_its_cause():
    finding = validity.gradients(check(confidence=0.01), LIMITS, misled=False)
    assert (finding.verdict, finding.value, finding.threshold) == ("warn", 0.01, LIMITS.D3.confidence)
    outside = validity.invalid(evidence(attack("pgd_linf", {0.1: range(50)}, norm=1.01)), LIMITS)
    assert (outside.value, outside.threshold) == (pytest.approx(0.01), LIMITS.D1.excess)
    weak = attack("pgd_linf", {0.1: range(50)}, rel_step=0.001, random_start=True)
    one_step = comparisons.one_step(evidence(attack("fgsm", {0.1: range(40, 60)}), weak), LIMITS)
    assert one_step.text.endswith("that PGD does not; its steps cannot cross the ball")


def test_d5_fooled_only_in_the_smaller_ball():
    noisy = independent(attack("pgd_linf", {0.1: range(50), 0.2: range(20, 80)}))
    finding = validity.not_monotone(evidence(noisy), LIMITS)
    assert (finding.verdict, finding.value) == ("fail", 0.2)
    assert finding.text == "pgd_linf fools 20 of 100 images at 0.1, but not at 0.2"
    sound = validity.not_monotone(evidence(independent(PGD)), LIMITS)
    assert sound.text == "each image that pgd_linf fools, it also fools at the next larger epsilon"
    # what only warns does not hide what fails
    both = evidence(noisy, independent(attack("fgsm", {0.1: range(50), 0.2: range(40, 80)})))
    assert validity.not_monotone(both, LIMITS).verdict == "fail"
    one_step = independent(attack("fgsm", {0.1: range(50), 0.2: range(20, 80)}))
    assert validity.not_monotone(evidence(one_step), LIMITS).verdict == "warn"


def test_d6_one_step_fools_what_many_do_not():
    found = evidence(attack("fgsm", {0.1: range(40, 60)}), PGD)
    assert comparisons.one_step(found, LIMITS).verdict == "fail"
    weak = attack("pgd_linf", {0.1: range(50)}, rel_step=0.001, random_start=True)
    assert comparisons.one_step(evidence(found.attacks[0], weak), LIMITS).verdict == "warn"


def test_d7_reads_as_an_overestimate():
    finding = comparisons.loss_gap(evidence(PGD, attack("apgd_t", {0.1: range(88)})), {}, LIMITS)
    assert (finding.verdict, finding.sign) == ("fail", "weak")
    assert finding.text == "PGD-CE overestimates robustness by 38.0 points at 0.1"


def test_d7_takes_apgd_ce_from_the_parts_of_autoattack():
    """Its second part fools most images, which the first one does not."""
    finding = comparisons.loss_gap(evidence(attack("aa", {0.1: range(70)}, part=1)), {}, LIMITS)
    assert finding.text == "APGD-CE overestimates robustness by 70.0 points at 0.1"


def test_d8_gain_without_gradients():
    strong, square = attack("apgd_t", {0.1: range(50)}), attack("square", {0.1: range(40, 60)})
    assert comparisons.gradient_free(evidence(strong, square), LIMITS).verdict == "fail"
    # PGD alone leaves images of sound networks that Square finds
    assert comparisons.gradient_free(evidence(PGD, square), LIMITS).verdict == "warn"
    # but noise finds none of them
    assert comparisons.gradient_free(evidence(PGD, attack("noise", {0.1: range(40, 60)})), LIMITS).verdict == "fail"
    # Square is a part of AutoAttack
    assert comparisons.gradient_free(evidence(attack("aa", {0.1: range(9)}, part=3)), LIMITS).verdict == "fail"
    assert comparisons.gradient_free(evidence(attack("aa", {0.1: range(9)}, part=2)), LIMITS).verdict == "ok"


def test_d8_knows_attacks_of_others_by_their_backward_passes():
    strong, images = attack("apgd_t", {0.1: range(50)}), {0.1: range(40, 60)}
    decisions = attack("foolbox:HopSkipJumpAttack", images, backwards=0)
    assert comparisons.gradient_free(evidence(strong, decisions), LIMITS).verdict == "fail"
    with_gradients = attack("advlib:fmn", images)
    assert comparisons.gradient_free(evidence(strong, with_gradients), LIMITS).verdict == "missing"


def test_d9_no_classifier_tells_grey_images_apart():
    finding = comparisons.impossible(evidence(attack("pgd_linf", {0.5: range(50)})), check(), LIMITS)
    # of ten equally large classes, and three standard errors
    assert finding.threshold == pytest.approx(0.1 + 3 * (0.1 * 0.9 / N) ** 0.5)
    assert (finding.verdict, finding.value) == ("fail", 0.5)
    assert finding.text.startswith("attacks leave 50.0% at 0.5, where ")
    # the radius of other norms depends on the number of pixels: 4 in L2
    l2 = replace(evidence(attack("pgd_l2", {4.0: range(50)})), norm="l2")
    assert comparisons.impossible(l2, check(), LIMITS).verdict == "fail"
    assert comparisons.impossible(l2, {}, LIMITS).verdict == "missing"


def test_d10_an_attack_that_minimises_the_norm_is_stronger():
    finding = comparisons.dominance(evidence(PGD, attack("deepfool", {0.1: range(57)})), LIMITS)
    assert finding.verdict == "fail"
    assert finding.text == "deepfool leaves 7.0 points less than pgd_linf at 0.1"


def test_thresholds_are_data():
    changed = thresholds.load(None, ["D7.fail=0.5"])
    finding = comparisons.loss_gap(evidence(PGD, attack("apgd_t", {0.1: range(88)})), {}, changed)
    # a warning has the threshold that it is beyond, everything else the one at which it fails
    assert (finding.verdict, finding.threshold) == ("warn", 0.05)
    assert comparisons.loss_gap(evidence(PGD, attack("apgd_t", {0.1: range(51)})), {}, changed).threshold == 0.5
    with pytest.raises(RecipeError, match=r"^--set D7\.fial: no such key"):
        thresholds.load(None, ["D7.fial=0.5"])


def test_equal_values_name_the_nominal_epsilon():
    grid = {0.1: range(50), 0.2: range(50), 0.3: range(50)}
    found = replace(evidence(attack("pgd_linf", grid), attack("fgsm", grid), attack("deepfool", grid)), nominal=0.2)
    assert found.epsilons == (0.2, 0.1, 0.3)
    assert "at 0.2" in comparisons.loss_gap(found, {}, LIMITS).text
    for indicator in (comparisons.one_step, comparisons.dominance):
        assert "at 0.2" in indicator(found, LIMITS).text
