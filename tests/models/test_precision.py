"""bfloat16 stays inside the encoder's pass: features, logits and weights are float32."""

import subprocess
import sys

import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.fused import FusedModel
from afdctl.models.precision import MixedPrecision, precision_of, set_precision, true_float32
from tests.models.encoders import ENCODERS, small

x = torch.rand((16, 1, 8, 8), generator=Generator().manual_seed(1))


def made(precision: str, encoder: str = "resnet18_mnist") -> FeatureClassifier:
    torch.manual_seed(0)
    network = small(encoder, image_size=8, classes=3)
    set_precision(network, precision)
    return network


@pytest.mark.parametrize("encoder", ENCODERS)
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


def test_a_fused_copy_has_the_precision_of_its_network_or_the_one_it_is_given():
    network = made("bf16")
    assert [precision_of(FusedModel(network, given)) for given in (None, "float32", "bf16")] == [
        "bf16",
        "float32",
        "bf16",
    ]
    assert precision_of(network) == "bf16"
    fused = FusedModel(network)
    assert {convolution.weight.dtype for *_, convolution in fused.folded} == {torch.bfloat16}
    assert fused.copy.C_phi.weight.dtype is torch.float32
    with torch.no_grad():
        assert torch.allclose(fused(x), network.eval()(x), atol=0.2)


def test_verdicts_are_float32_whatever_happens():
    network, plain = made("bf16").eval(), made("float32").eval()
    with torch.no_grad():
        with true_float32(network):
            assert torch.equal(network(x), plain(x))
        with pytest.raises(ZeroDivisionError), true_float32(network):
            raise ZeroDivisionError
        assert precision_of(network) == "bf16"
        assert not torch.equal(network(x), plain(x))


def float32_flags() -> tuple[bool, bool, str, bool]:
    return (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cpu"),
    )


@pytest.mark.parametrize("matmul_precision", ["highest", "high", "medium"])
def test_tf32_and_autocast_are_off_inside_and_restored_outside(matmul_precision: str):
    usual, matmul_before = float32_flags(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(matmul_precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            before = float32_flags()
            assert before == (True, matmul_precision != "highest", matmul_precision, True)
            with true_float32(nn.Identity()):
                assert float32_flags() == (False, False, "highest", False)
                assert (x.flatten(1) @ torch.ones(64, 1)).dtype is torch.float32
            assert float32_flags() == before
            with pytest.raises(ZeroDivisionError), true_float32(torch.relu):
                raise ZeroDivisionError
            assert float32_flags() == before
    finally:
        torch.set_float32_matmul_precision(matmul_before)
    assert float32_flags() == usual


def test_tf32_is_off_inside_where_a_models_file_used_torchs_newer_settings():
    """In a process of its own, because torch has no way back from this to the settings of a new process."""
    code = """
import torch
from afdctl.models.precision import true_float32
torch.backends.fp32_precision = "tf32"
operators = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
with true_float32(torch.relu):
    print(*(operator.fp32_precision for operator in operators), torch.backends.cudnn.allow_tf32)
print(*(operator.fp32_precision for operator in operators))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["ieee ieee ieee False", "tf32 tf32 tf32"]


def test_each_encoder_gets_its_own_precision_back():
    pair = nn.ModuleList([made("float32"), made("bf16")])
    with true_float32(pair):
        assert [precision_of(network) for network in pair] == ["float32", "float32"]
    assert [precision_of(network) for network in pair] == ["float32", "bf16"]


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
