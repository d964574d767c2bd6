"""Test the analyses' results against values worked by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdctl.analysis.divergence import _correlate, hdh, probe_alpha_h
from afdctl.analysis.embedding import tsne
from afdctl.analysis.statistics import norms, pca, sensitivity, units
from tests.analysis.conftest import features, gathered


@pytest.fixture
def barely_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of a few steps, where it does not matter how good they are."""
    monkeypatch.setattr("afdctl.analysis.divergence.PROBE_STEPS", 5)


def crossed(*lengths: float) -> Any:
    """Points at +- each length, each on a separate axis: the variance along it is proportional to its square."""
    return np.concatenate(
        [[sign * length * axis for sign in (1, -1)] for length, axis in zip(lengths, np.eye(5), strict=False)]
    )


@pytest.mark.parametrize(
    ("lengths", "dims"),
    [
        ((1, 1, 1, 1), 4),  # a quarter each
        ((10, 1), 1),  # 100 / 101 is 99.01 %
        ((10, 1.1), 2),  # 100 / 101.21 is 98.8 %
        ((10, 1, 0.5), 2),  # 100 / 101.25, then 101 / 101.25
        ((3, 0, 0), 1),
    ],
)
def test_dims_hold_99_percent_of_the_variance(lengths: tuple[float, ...], dims: int):
    found = pca(gathered(features(crossed(*lengths)), {}))
    assert found.metrics["dims"] == dims
    shares = np.cumsum(np.square(lengths)) / np.sum(np.square(lengths))
    np.testing.assert_allclose(found.arrays["explained"][: len(lengths)], shares, atol=1e-6)


def test_dims_do_not_depend_on_where_the_features_lie():
    z = crossed(3, 2, 1)
    one, other = (pca(gathered(features(moved), {})).metrics for moved in (z, z + 100))
    assert one == other == {"dims": 3, "features": 5, "share": 0.99}


def test_features_that_never_change_have_no_dimension():
    assert pca(gathered(features(np.ones((6, 3))), {})).metrics["dims"] == 0


def test_units_are_those_that_are_not_zero_for_some_image():
    found = units(gathered(features([[0, 0, 1, 0], [0, -2, 0, 0], [0, 0, 0, 1e-9]]), {}))
    assert found.metrics == {"units": 3, "features": 4}
    np.testing.assert_allclose(found.arrays["largest"], [0, 2, 1, 1e-9])


def test_sensitivity_is_how_far_features_move_by_their_length():
    natural = features([[3, 4], [1, 0], [0, 2], [0, 0]])
    moved = features([[3, 4], [1, 1], [4, 2], [5, 5]])
    found = sensitivity(gathered(natural, {0.1: natural, 0.2: moved}))
    np.testing.assert_allclose(found.arrays["sensitivity"], [[0, 0, 0, np.nan], [0, 1, 2, np.nan]])
    assert found.metrics["epsilons"] == [0.1, 0.2]
    assert found.metrics["median"] == [0, 1]
    np.testing.assert_allclose(found.metrics["std"], [0, math.sqrt(2 / 3)], rtol=1e-6)


def test_features_of_no_length_have_no_sensitivity():
    """Nor do they make numpy complain."""
    natural = features(np.zeros((4, 2)))
    found = sensitivity(gathered(natural, {0.1: features(np.ones((4, 2)))}))
    assert np.isnan(found.metrics["median"]).all()


def test_norms_scales_and_margins():
    natural = features([[1, 0], [0, 1]], logits=[[3, 0, 0], [1, 0, 2]], length=[7, 9])
    adversarial = features([[1, 0], [0, 1]], logits=[[0, 3, 0], [2, 2, 2]], length=[1, 2])
    found = norms(gathered(natural, {0.3: adversarial}))
    np.testing.assert_allclose(found.arrays["feature_norm"], [[7, 9], [1, 2]])
    np.testing.assert_allclose(found.arrays["margin"], [[3, -1], [-3, 0]])
    np.testing.assert_allclose(
        found.arrays["logit_scale"], [[math.sqrt(6), math.sqrt(2)], [math.sqrt(6), 0]], rtol=1e-6
    )
    assert found.metrics["margin"]["median"] == [1, -1.5]
    assert found.metrics["epsilons"] == [0, 0.3]


class FirstFeature(nn.Module):
    """A discriminator whose score is the first feature."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z[:, 0]


@pytest.mark.usefixtures("barely_trained")
def test_divergence_gap_and_slack():
    # D takes 3 of 4 natural and 2 of 4 adversarial samples for what they are: alpha = 3/4 + 1/2, d = 1/2
    natural = features([[1], [1], [1], [-1]], logits=[[1, 0], [1, 0], [1, 0], [0, 1]])
    adversarial = features([[1], [-1], [-1], [1]], logits=[[1, 0], [0, 1], [0, 1], [0, np.nan]])
    (cell,) = hdh(gathered(natural, {0.1: adversarial}, discriminator=FirstFeature())).metrics["cells"]
    assert (cell["err_nat"], cell["err_adv"], cell["gap"]) == (0.25, 0.75, 0.5)
    assert cell["raw"] == pytest.approx(0.5)
    assert cell["slack_raw"] == pytest.approx(0.25 + 0.25 - 0.75)
    # the even places separate at any threshold below -1 or between: the best is found there and measured at the odd
    assert cell["calibrated"] is not None
    assert cell["n_test"] == 4


@pytest.mark.usefixtures("barely_trained")
def test_without_a_discriminator_there_is_only_the_probe():
    natural = features(np.zeros((8, 2)))
    (cell,) = hdh(gathered(natural, {0.1: natural})).metrics["cells"]
    assert [cell[key] for key in ("raw", "calibrated", "slack_raw", "slack_calibrated")] == [None] * 4
    assert cell["probe"] is not None


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_probe_tells_apart_what_differs_and_nothing_else():
    z, y = drawn(400, 6, seed=1), torch.arange(400) // 2 % 2
    alike = probe_alpha_h(z, drawn(400, 6, seed=2), y, classes=2, seed=0)
    assert abs(alike.item() - 1) < 0.1  # four deviations of chance
    apart = probe_alpha_h(z, z + 8, y, classes=2, seed=0)
    assert apart.item() == pytest.approx(2)


def test_a_probe_sees_the_label():
    """Features that move one way in a class and the other way in the other have the same mixture."""
    y = torch.arange(400) // 2 % 2
    side = (2.0 * y - 1)[:, None]
    found = probe_alpha_h(0.1 * drawn(400, 3, seed=1) + side, 0.1 * drawn(400, 3, seed=2) - side, y, classes=2, seed=0)
    assert found.item() > 1.95


@pytest.mark.usefixtures("barely_trained")
def test_a_probe_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    one, other = (
        probe_alpha_h(drawn(20, 2, seed=1), drawn(20, 2, seed=2), torch.arange(20) % 2, classes=2, seed=3) for _ in "ab"
    )
    assert one == other
    assert torch.equal(torch.random.get_rng_state(), state)


def cells(ds: list[float | None], gaps: list[float]) -> list[dict[str, Any]]:
    return [{"probe": d, "gap": gap} for d, gap in zip(ds, gaps, strict=True)]


def test_correlation_and_its_interval():
    found = _correlate(cells([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]), "probe")
    assert found is not None
    assert found["r"] == pytest.approx(0.9)
    # atanh(0.9) = 1.4722; 1.96 / sqrt(2) = 1.3859
    assert found["low"] == pytest.approx(math.tanh(1.47222 - 1.38590), abs=1e-4)
    assert found["high"] == pytest.approx(math.tanh(1.47222 + 1.38590), abs=1e-4)
    assert found["cells"] == 5


@pytest.mark.parametrize("ds", [[1, 2, 3], [1, 1, 1, 1, 1], [None] * 5])
def test_no_correlation_of_too_few_cells_or_without_any_spread(ds: list[float | None]):
    assert _correlate(cells(ds, list(range(len(ds)))), "probe") is None


def test_tsne_keeps_apart_what_lies_apart():
    label = np.arange(20) % 2
    z = np.asarray(drawn(20, 3, seed=0)) * 0.01 + label[:, None] * 10
    logits = np.eye(2)[label]
    found = tsne(gathered(features(z, logits), {0.1: features(z + 0.001, logits)}, label=label, points=16))
    assert found.metrics["images"] == 16
    # 32 points have not the 90 neighbours that a perplexity of 30 looks at
    assert found.metrics["perplexity"] == pytest.approx(31 / 3)
    points = found.arrays["points"]
    assert points.shape == (2, 16, 2)
    centres = [points[:, found.arrays["label"] == one].reshape(-1, 2) for one in (0, 1)]
    spread = max(np.linalg.norm(part - part.mean(0), axis=1).max() for part in centres)
    assert np.linalg.norm(centres[0].mean(0) - centres[1].mean(0)) > spread
    np.testing.assert_array_equal(found.arrays["prediction"], [found.arrays["label"]] * 2)
    np.testing.assert_array_equal(found.arrays["label"], label[found.arrays["index"]])
