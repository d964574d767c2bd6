"""Figures of attacked samples, against numbers worked by hand and the paper's own."""

import numpy as np
import pytest

from afdctl.sweep.figures import accuracy_at, auc, envelope, optimality, step_auc, wilson

INF = np.inf


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


def test_step_auc_by_hand():
    """One sample wrong at once, one falls at 0.2, one stands beyond the grid: (0 + 0.2 + 0.4) / 3 of 0.4."""
    assert step_auc(np.array([0.0, 0.2, INF]), 0.4) == pytest.approx(0.6 / 3 / 0.4)


def test_accuracy_from_distances():
    distances = np.array([0.0, 0.2, INF], np.float32)
    assert [accuracy_at(distances, epsilon) for epsilon in (0, 0.1, 0.2, 0.3)] == pytest.approx(
        [2 / 3, 2 / 3, 1 / 3, 1 / 3]
    )


def test_step_auc_is_the_limit_of_the_trapezoid():
    distances = np.random.default_rng(0).uniform(0, 1, 200)
    grid = np.linspace(0, 0.5, 2001)
    fine = auc(list(grid), [accuracy_at(distances, epsilon) for epsilon in grid])
    assert step_auc(distances, 0.5) == pytest.approx(fine, abs=1e-3)


def test_wilson_against_published_values():
    """Wilson (1927) as in Newcombe (1998), Table I: 81 of 263 and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20).high == 1.0


def test_envelope_and_optimality():
    strong, weak = np.array([0.0, 0.1, 0.4]), np.array([0.0, 0.3, INF])
    worst = envelope({"strong": strong, "weak": weak})
    assert worst.tolist() == strong.tolist()
    assert optimality(strong, worst, 1.0) == 1.0
    assert optimality(np.array([0.0, INF, INF]), worst, 1.0) == pytest.approx(0.0)
    # up to 0.4, where the envelope is 0: clean 2/3, envelope (0.1 + 0.4) / 3 / 0.4, weak (0.3 + 0.4) / 3 / 0.4
    assert optimality(weak, worst, 1.0) == pytest.approx((2 / 3 - 0.7 / 1.2) / (2 / 3 - 0.5 / 1.2))


def test_optimality_of_nothing_found():
    nothing = np.array([0.0, INF, INF])
    assert optimality(nothing, nothing, 0.3) is None
