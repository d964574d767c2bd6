"""Test that in a bfloat16 step only the encoder computes in bfloat16."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.precision import set_precision
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.defenses import DefenseConfig
from afdctl.training.adversary import Adversary

x, y = torch.rand((16, 1, 8, 8), generator=Generator().manual_seed(1)), torch.arange(16) % 3
# operations of perturbations, projections, losses, feature norms, D_psi, metrics and optimizers, but of no encoder
FLOAT32_ONLY = {
    "where",
    "minimum",
    "maximum",
    "clamp",
    "clamp_",
    "clamp_min",
    "clamp_max",
    "rand",
    "normal_",
    "linalg_vector_norm",
    "sqrt",
    "nan_to_num",
    "_log_softmax",
    "nll_loss_forward",
    "exp",
    "leaky_relu",
    "gt",
    "argmax",
    "_foreach_norm",
    "_fused_sgd_",
}


def low_precision_network() -> FeatureClassifier:
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=4, channels=1, image_size=8, classes=3)
    set_precision(network, "bf16")
    return network


class Operations(TorchDispatchMode):
    """Collects the names of all operations, and of those that see a bfloat16 tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.all: set[str] = set()
        self.low: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.all.add(name)
        if any(tensor.dtype is torch.bfloat16 for tensor in tensors([*args, *(kwargs or {}).values(), result])):
            self.low.add(name)
        return result


def tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


@pytest.mark.parametrize("name", registry.DEFENSES)
def test_in_a_step_only_the_encoder_sees_bf16(name: str):
    """Not the perturbation, the projection, the losses, D_psi, the gradient penalty, or the optimizers."""
    network = low_precision_network()
    attack = AdversaryConfig(name=registry.DEFENSES[name].adversary or "apgd_ce", norm="l2", epsilon=0.5, steps=2)
    adversary = Adversary(network, attack, Generator())
    table = DefenseConfig.model_of({"name": name}).model_validate(
        {"name": name, **({"gp_weight": 1.0} if name == "afd" else {})}
    )
    defense = registry.load(registry.DEFENSES, name)(table, network, adversary, 3, Generator())
    with Operations() as seen:
        report = defense.step(x, y)
    assert "convolution" in seen.low
    assert seen.low & FLOAT32_ONLY == set()
    assert len(seen.all & FLOAT32_ONLY) > 5
    assert {figure.dtype for figure in report.values()} == {torch.float32}


def test_x_adv_is_float32_in_its_ball_and_in_the_box():
    adversary = Adversary(low_precision_network(), AdversaryConfig(epsilon=0.1, steps=3), Generator())
    x_adv = adversary(x, y)
    assert x_adv.dtype is torch.float32
    assert (x_adv - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= x_adv.min() < x_adv.max() <= 1
    # one of 8 bits would be
    assert not torch.equal(x_adv, x_adv.bfloat16().float())
