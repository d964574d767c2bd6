"""bfloat16 stays inside the encoder's pass: what comes out of it, and all that is done with it, is float32."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from afdctl import registry
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.fused import FusedModel
from afdctl.models.precision import MixedPrecision, in_float32, precision_of, set_precision
from afdctl.recipe.schema import DEFENSES, Attack, Model
from afdctl.training.adversary import Adversary

x, y = torch.rand((16, 1, 8, 8), generator=Generator().manual_seed(1)), torch.arange(16) % 3
OURS = {
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
    "_log_softmax",
    "nll_loss_forward",
    "exp",
    "leaky_relu",
    "gt",
    "argmax",
    "_foreach_norm",
    "_fused_sgd_",
}
"""Of perturbations, projections, losses, features' norms, D_psi, figures and optimizers; no encoder computes them."""


def made(precision: str, encoder: str = "resnet18_mnist") -> FeatureClassifier:
    torch.manual_seed(0)
    network = build(Model(encoder=encoder, width=4), channels=1, image_size=8, classes=3)
    set_precision(network, precision)
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


@pytest.mark.parametrize("encoder", registry.ENCODERS)
def test_the_encoder_computes_in_bf16_and_hands_over_float32(encoder: str):
    network = made("bf16", encoder)
    seen: list[torch.dtype] = []
    network.F_theta[0].register_forward_hook(lambda module, inputs, z: seen.append(z.dtype))
    z = network.F_theta(x)
    logits = network.C_phi(z)
    gradients = torch.autograd.grad(logits.sum(), [*network.parameters()])
    assert seen == [torch.bfloat16]
    assert {tensor.dtype for tensor in (z, logits, *gradients, *network.parameters())} == {torch.float32}
    plain = made("float32", encoder).F_theta(x)
    assert torch.cosine_similarity(z, plain).mean() > 0.98
    assert not torch.equal(z, plain)


@pytest.mark.parametrize("name", registry.DEFENSES)
def test_in_a_step_only_the_encoder_sees_bf16(name: str):
    """Not the perturbation, the projection, the losses, D_psi, the gradient penalty, or the optimizers."""
    network = made("bf16")
    attack = Attack(name="pgd_kl" if name == "trades" else "apgd_ce", norm="l2", epsilon=0.5, steps=2)
    adversary = Adversary(network, attack, Generator())
    table = DEFENSES[name].model_validate({"name": name, **({"gp_weight": 1.0} if name == "afd" else {})})
    defense = registry.load(registry.DEFENSES, name)(table, network, adversary, 3, Generator())
    with Operations() as seen:
        report = defense.step(x, y)
    assert "convolution" in seen.low
    assert seen.low & OURS == set()
    assert len(seen.all & OURS) > 5
    assert {figure.dtype for figure in report.values()} == {torch.float32}


def test_x_adv_is_float32_in_its_ball_and_in_the_box():
    adversary = Adversary(made("bf16"), Attack(epsilon=0.1, steps=3), Generator())
    x_adv = adversary(x, y)
    assert x_adv.dtype is torch.float32
    assert (x_adv - x).abs().max() <= 0.1 + 1e-6
    assert 0 <= x_adv.min() < x_adv.max() <= 1
    # one of 8 bits would be
    assert not torch.equal(x_adv, x_adv.bfloat16().float())


def test_a_twin_has_the_precision_of_its_network_or_the_one_it_is_given():
    network = made("bf16")
    assert [precision_of(FusedModel(network, given)) for given in (None, "float32", "bf16")] == [
        "bf16",
        "float32",
        "bf16",
    ]
    assert precision_of(network) == "bf16"
    twin = FusedModel(network)
    assert {folded.weight.dtype for _, folded in twin.folded} == {torch.bfloat16}
    assert twin.copy.C_phi.weight.dtype is torch.float32
    with torch.no_grad():
        assert torch.allclose(twin(x), network.eval()(x), atol=0.2)


def test_verdicts_are_float32_whatever_happens():
    network, plain = made("bf16").eval(), made("float32").eval()
    with torch.no_grad():
        with in_float32(network):
            assert torch.equal(network(x), plain(x))
        with pytest.raises(ZeroDivisionError), in_float32(network):
            raise ZeroDivisionError
        assert precision_of(network) == "bf16"
        assert not torch.equal(network(x), plain(x))


def test_an_update_is_seen_by_the_next_pass():
    """Autocast keeps rounded copies of weights, but not beyond a pass."""
    network = made("bf16")
    first = network.F_theta(x)
    with torch.no_grad():
        for kernel in (weight for weight in network.F_theta.parameters() if weight.dim() == 4):
            kernel.mul_(-1)
    assert not torch.allclose(network.F_theta(x), first, atol=0.1)


def test_the_checkpoint_of_a_network_does_not_depend_on_it():
    low, plain = made("bf16").state_dict(), made("float32").state_dict()
    assert low.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in low.items() if isinstance(value, Tensor))


def test_any_model_can_be_wrapped():
    model = MixedPrecision(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), precision="bf16")
    assert model(x).dtype is torch.float32
    assert torch.equal(model(x), model(x).bfloat16().float())
