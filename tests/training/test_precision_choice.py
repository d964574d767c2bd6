"""`auto`: the precision that is faster on this device, found before the training and kept in the run."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from afdctl.journal import read_rows
from afdctl.models import native_precision
from afdctl.models.native_precision import choose_precision
from afdctl.models.precision import DTYPES, precision_of
from afdctl.runs.provenance import with_precisions
from afdctl.training import precision_choice
from afdctl.training.adversary import Adversary
from afdctl.training.cost_estimate import build_network, random_batch
from afdctl.training.precision_choice import find_precisions
from afdctl.training.setup import load_run_recipe
from tests.conftest import short
from tests.training.test_performance import assert_resumed_to_the_bit
from tests.training.test_resume import train

CPU = torch.device("cpu")
AUTO = ["attack.precision=auto", "train.precision=auto"]


def clock(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> list[str]:
    """Let a pass in each precision take these seconds; return the list that the passes write their precision to."""
    calls: list[str] = []

    def timed(call: object, device: torch.device) -> float:
        call()  # type: ignore[operator]
        return seconds[calls[-1]]

    monkeypatch.setattr(native_precision, "timed", timed)
    return calls


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.9, "bf16"), (0.95, "float32"), (30.0, "float32")])
def test_bf16_must_save_a_tenth(monkeypatch: pytest.MonkeyPatch, bf16: float, chosen: str):
    calls = clock(monkeypatch, {"float32": 1.0, "bf16": bf16})
    assert choose_precision(lambda precision: partial(calls.append, precision), CPU) == chosen
    assert calls[:4] == ["float32", "bf16", "float32", "bf16"]


@pytest.mark.parametrize("call", [lambda y: torch.ones(2, 2) @ y, torch.Tensor.numpy])
def test_a_model_that_fails_in_bf16_gets_float32(monkeypatch: pytest.MonkeyPatch, call: Callable[[Tensor], object]):
    """Numpy, which has no bfloat16, raises a TypeError."""
    monkeypatch.setattr(native_precision, "MAX_SHARE", math.inf)

    def make_pass(precision: str) -> Callable[[], object]:
        return partial(call, torch.ones(2, 2, dtype=DTYPES[precision]))

    assert choose_precision(make_pass, CPU) == "float32"


def test_what_is_not_auto_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision_choice, "choose_precision", lambda make_pass, device: "measured")
    find = partial(find_precisions, shape=(1, 8, 8), classes=10, device=CPU)
    state = torch.get_rng_state()
    assert find(short("digits_wgan", "train.precision=bf16")) == {"attack": "float32", "train": "bf16"}
    assert find(short("digits_wgan", "attack.precision=auto")) == {"attack": "measured", "train": "float32"}
    assert find(short("digits_wgan", *AUTO)) == {"attack": "measured", "train": "measured"}
    assert torch.equal(torch.get_rng_state(), state), "a network was drawn"


@pytest.mark.parametrize("make_pass", [precision_choice.attack_pass, precision_choice.training_pass])
def test_passes_are_those_of_their_precision_and_keep_the_weights(make_pass):
    images = random_batch(4, (1, 8, 8), 10, CPU)
    network = build_network(short("digits_wgan", "model.encoder=resnet18_mnist"), images)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    gradients = {precision: make_pass(network, images, precision)()[0] for precision in ("float32", "bf16")}
    assert not torch.equal(*gradients.values())
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_a_resume_keeps_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = [{"attack": "bf16", "train": "float32"}, {"attack": "bf16", "train": "float32"}]
    # a third measurement, by the resume, fails
    monkeypatch.setattr("afdctl.training.setup.find_precisions", lambda *_: chosen.pop())
    recipe = short("digits_wgan", *AUTO, "train.report_every=1")
    whole = train(recipe, tmp_path / "whole")
    assert whole.provenance["precisions"] == {"attack": "bf16", "train": "float32"}
    assert next(read_rows(whole.journal_path))["precisions"] == whole.provenance["precisions"]
    assert load_run_recipe(whole)[0].attack.precision == "auto"
    assert_resumed_to_the_bit(whole, recipe, tmp_path / "parts", stop_at=3)


def test_the_adversary_has_its_own_precision():
    images = random_batch(4, (1, 8, 8), 10, CPU)
    recipe = with_precisions(short("digits_wgan"), {"attack": "bf16", "train": "float32"})
    network = build_network(recipe, images)
    adversary = Adversary(network, recipe.attack, torch.Generator())
    assert precision_of(network) == "float32"
    assert precision_of(adversary._fused) == "bf16"


def test_an_attack_that_is_never_made_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision_choice, "choose_precision", lambda make_pass, device: "measured")
    found = find_precisions(short("digits_nt", *AUTO), (1, 8, 8), 10, CPU)
    assert found == {"attack": "float32", "train": "measured"}
