"""Masked networks are caught, and honest ones are not accused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from afdctl.analysis import validity
from afdctl.analysis.attack_evidence import AttackEvidence
from afdctl.analysis.evidence import Evidence
from afdctl.analysis.masking import CAVEAT
from afdctl.evaluation import sanity_checks, thresholds
from tests.analysis.masked_models import CPU, MASKS, Layers, certified, diagnosed, digits, trained, winners

LIMITS = thresholds.defaults()
NO_LABELS = np.zeros(0, int)
NO_RESULTS = AttackEvidence(
    title="pgd_linf", name="pgd_linf", source=None, schedule="ascending", spec={}, epsilons=(0.1,), columns={}
)
EVIDENCE = Evidence(run="run", norm="linf", attacks=(NO_RESULTS,), labels=NO_LABELS, clean=NO_LABELS)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def static(network: nn.Module) -> set[str]:
    """Verdicts of the indicators that need no attack."""
    row = sanity_checks.run_check(network, digits(), CPU, "digest")
    return {validity.unstable(EVIDENCE, row, LIMITS).verdict, validity.gradients(row, LIMITS, misled=True).verdict}


@pytest.mark.parametrize("mask", MASKS)
def test_the_outputs_alone_show_a_mask(mask: str):
    """Those of small logits do so where PGD is weak; see D7."""
    assert "fail" in static(MASKS[mask](trained("natural", 4)))


def test_honest_outputs_show_none():
    assert static(trained("natural", 4)) == {"ok"}
    assert static(certified()) == {"ok"}


def test_a_diagnosis_compares_attacks(tmp_path: Path):
    """A flipped gradient stops PGD, and neither noise nor images of a surrogate."""
    masked = diagnosed(MASKS["flipped gradient"](trained("natural", 4)), tmp_path, "masked", n=50)
    assert masked.verdict == "masked"
    failed = {found.indicator for found in masked.findings if found.verdict == "fail"}
    assert failed >= {"D3", "D7", "D8"}
    assert masked.overestimation
    assert masked.overestimation.startswith("PGD-CE overestimates robustness by ")
    assert masked.as_json()["caveat"] == CAVEAT
    assert [found["indicator"] for found in masked.as_json()["indicators"]] == [f"D{n}" for n in range(1, 11)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["natural", "at"])
@pytest.mark.parametrize("mask", MASKS)
def test_every_mask_is_caught(tmp_path: Path, mask: str, method: str):
    assert diagnosed(MASKS[mask](trained(method)), tmp_path, "masked").verdict == "masked"


@pytest.mark.slow
def test_k_winners_take_all_is_caught(tmp_path: Path):
    assert diagnosed(Layers(trained("kwta"), winners), tmp_path, "masked").verdict == "masked"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["natural", "at", "trades"])
def test_honest_networks_are_not_accused(tmp_path: Path, method: str):
    assert diagnosed(trained(method), tmp_path, "honest").verdict != "masked"


@pytest.mark.slow
def test_a_certified_network_is_not_accused(tmp_path: Path):
    assert diagnosed(certified(), tmp_path, "honest").verdict != "masked"
