"""Figures of attacked samples, against numbers worked by hand and the paper's own."""

import numpy as np
import pytest

from afdctl.evaluation.statistics import accuracy_at, auc, lower_envelope, optimality, step_auc, wilson

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
    strong, weak = np.array([0.0, 0.1, 0.4], np.float32), np.array([0.0, 0.3, INF], np.float32)
    worst = lower_envelope([strong, weak])
    assert worst.tolist() == strong.tolist()
    grid = (0, 0.2, 0.4)
    assert optimality(grid, (2 / 3, 1 / 3, 0), (2 / 3, 1 / 3, 0)) == 1.0
    assert optimality(grid, (2 / 3, 2 / 3, 2 / 3), (2 / 3, 1 / 3, 0)) == pytest.approx(0.0)
    # areas lost: 0.1 * 1/3 = 1/30 of the attack's, 0.1 * 1/3 + 0.1 * (1/3 + 2/3) = 4/30 of the envelope's
    assert optimality(grid, (2 / 3, 2 / 3, 1 / 3), (2 / 3, 1 / 3, 0)) == pytest.approx(1 / 4)


def test_optimality_where_even_the_envelope_finds_nothing():
    assert optimality((0, 0.1), (0.9, 0.9), (0.9, 0.9)) is None


def test_areas_of_single_precision_distances_do_not_round():
    nothing = np.full(7, INF, np.float32)
    nothing[0] = 0
    assert step_auc(nothing, 0.1) == 6 / 7
