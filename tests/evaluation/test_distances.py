"""Metrics of per-sample distances, against numbers worked by hand."""

import numpy as np
import pytest

from afdctl.evaluation.curves import accuracy_at, exact_auc, optimality, smallest_distances
from afdctl.runs.curves import auc

INF = np.inf


def test_exact_auc_by_hand():
    """One sample is misclassified, one fooled at 0.2, one robust on the whole grid: (0 + 0.2 + 0.4) / 3 of 0.4."""
    assert exact_auc(np.array([0.0, 0.2, INF]), 0.4) == pytest.approx(0.6 / 3 / 0.4)


def test_accuracy_from_distances():
    distances = np.array([0.0, 0.2, INF], np.float32)
    assert [accuracy_at(distances, epsilon) for epsilon in (0, 0.1, 0.2, 0.3)] == pytest.approx(
        [2 / 3, 2 / 3, 1 / 3, 1 / 3]
    )


def test_exact_auc_is_the_limit_of_the_trapezoid():
    distances = np.random.default_rng(0).uniform(0, 1, 200)
    grid = np.linspace(0, 0.5, 2001)
    fine = auc(list(grid), [accuracy_at(distances, epsilon) for epsilon in grid])
    assert exact_auc(distances, 0.5) == pytest.approx(fine, abs=1e-3)


def test_worst_case_and_optimality():
    strong, weak = np.array([0.0, 0.1, 0.4], np.float32), np.array([0.0, 0.3, INF], np.float32)
    worst = smallest_distances([strong, weak])
    assert worst.tolist() == strong.tolist()
    grid = (0, 0.2, 0.4)
    assert optimality(grid, (2 / 3, 1 / 3, 0), (2 / 3, 1 / 3, 0)) == 1.0
    assert optimality(grid, (2 / 3, 2 / 3, 2 / 3), (2 / 3, 1 / 3, 0)) == pytest.approx(0.0)
    # areas lost: 0.1 * 1/3 = 1/30 of the attack's, 0.1 * 1/3 + 0.1 * (1/3 + 2/3) = 4/30 of the worst case's
    assert optimality(grid, (2 / 3, 2 / 3, 1 / 3), (2 / 3, 1 / 3, 0)) == pytest.approx(1 / 4)


def test_optimality_where_even_the_worst_case_finds_nothing():
    assert optimality((0, 0.1), (0.9, 0.9), (0.9, 0.9)) is None


def test_areas_of_single_precision_distances_do_not_round():
    nothing = np.full(7, INF, np.float32)
    nothing[0] = 0
    assert exact_auc(nothing, 0.1) == 6 / 7
