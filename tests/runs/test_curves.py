"""Robustness curves, against numbers worked by hand and the paper's own."""

from typing import Any

import pytest

from afdctl.runs.curves import RobustnessCurve, accuracy_interval, auc, describe_mixed_grids, lacks_autoattack, wilson


def curve(*accuracies: float, n: int = 100, name: str = "pgd_linf", source: str | None = None) -> RobustnessCurve:
    """Accuracies at 0 (clean), 0.1, 0.2, ..."""
    cells: list[dict[str, Any]] = []
    for number, accuracy in enumerate(accuracies[1:], 1):
        low, high = accuracy_interval(accuracy, n)
        cells.append(
            {
                "attack": "mine",
                "norm": "linf",
                "source": source,
                "spec": {"name": name},
                "schedule": "ascending",
                "precision": "float32",
                "checkpoint": "a" * 64,
                "n": n,
                "epsilon": number / 10,
                "acc_nat": accuracies[0],
                "accuracy": accuracy,
                "low": low,
                "high": high,
                "forwards": 3 * n,
                "backwards": 2 * n,
                "seconds": 1.5,
            }
        )
    return RobustnessCurve(tuple(cells))


def test_auc_by_hand():
    """Trapezoids 0.1 * 0.9 and 0.4 * 0.5 over a grid of length 0.5."""
    assert auc([0, 0.1, 0.5], [1.0, 0.8, 0.2]) == pytest.approx((0.1 * 0.9 + 0.4 * 0.5) / 0.5)


@pytest.mark.parametrize(
    ("clean", "epsilons", "published"),
    [
        (0.9884, [0, 0.2, 0.3, 0.35], 0.2824),
        (0.9489, [0, 8 / 255, 16 / 255, 32 / 255], 0.1186),
        (0.5830, [0, 2 / 255, 4 / 255, 8 / 255], 0.0729),
    ],
)
def test_auc_of_natural_training_in_table_2(clean: float, epsilons: list[float], published: float):
    """Table 2, NT under AutoAttack: nothing survives, so the area follows from clean accuracy (Table 1) alone."""
    assert auc(epsilons, [clean, 0, 0, 0]) == pytest.approx(published, abs=5e-5)


def test_wilson_against_published_values():
    """Wilson (1927) as in Newcombe (1998), Table I: 81 of 263 and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20).high == 1.0


def test_the_margin_is_the_longer_side_of_an_interval():
    """Wilson's interval of 8 of 8 goes from 67.6 % to 100 %."""
    assert accuracy_interval(1.0, 8).margin(1.0) == pytest.approx(0.324, abs=5e-4)


def test_a_curve_starts_at_clean_accuracy():
    one = curve(0.9, 0.5, 0.1)
    assert one.by_epsilon() == {0.0: 0.9, 0.1: 0.5, 0.2: 0.1}
    assert one.auc == pytest.approx((0.7 + 0.3) / 2)
    assert (one.passes, one.seconds) == (10, 3.0)


def test_clean_accuracy_has_an_interval_too():
    """The report left it out where the figures drew it."""
    assert curve(0.9, 0.5).intervals == (wilson(90, 100), wilson(50, 100))


def test_a_label_does_not_make_an_attack_autoattack():
    """The dashboard went by the title, the report by the attack's name."""
    assert lacks_autoattack([curve(0.9, 0.5, name="pgd_linf")])
    assert lacks_autoattack([curve(0.9, 0.5, name="aa", source="another")])
    assert not lacks_autoattack([curve(0.9, 0.5), curve(0.9, 0.4, name="aa")])


def test_areas_over_different_grids_are_named():
    assert describe_mixed_grids([("a", (0.0, 0.1)), ("b", (0.0, 0.1))]) is None
    text = describe_mixed_grids([("a", (0.0, 0.1)), ("b", (0.0, 8 / 255)), ("c", (0.0, 0.1))])
    assert text
    assert text.endswith("across grids: a, c over 0 0.1; b over 0 8/255.")
