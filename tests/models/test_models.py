"""The networks: sizes that the published code has, normalisation, and the discriminator's parts."""

import pytest
import torch

from afdctl.errors import CorruptError
from afdctl.models import discriminator
from afdctl.models.feature_classifier import (
    CosineClassifier,
    FeatureClassifier,
    FeatureNorm,
    build,
    safe_with_channels_last,
)
from tests.models.encoders import ENCODERS, small


def network(
    encoder: str, *, channels: int = 1, image_size: int = 28, width: int = 4, norm: str = "l2"
) -> FeatureClassifier:
    return build(encoder, width=width, norm=norm, channels=channels, image_size=image_size, classes=10)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_mnist_encoder_has_the_published_size():
    built = network("resnet18_mnist", width=16)
    assert count(built.F_theta) == 262_896
    assert built.features == 64


def test_the_cifar_network_has_the_published_size():
    built = network("resnet18", channels=3, image_size=32, width=64)
    assert count(built) == 11_173_962
    assert built.features == 512


@pytest.mark.parametrize(
    ("encoder", "parameters"),
    [
        # github.com/kuangliu/pytorch-cifar without, and Rice et al. 2020 (arXiv:2002.11569) with the BatchNorm before
        # the classifier, which has 1,024 of them: 11.17 million
        ("preact_resnet18", 11_172_170),
        ("preact_resnet18_silu", 11_172_170),
        # Zagoruyko & Komodakis 2016 (arXiv:1605.07146), Table 4: 0.6, 8.9, 11.0, 17.2, 36.5 and 52.5 million
        ("wrn-40-1", 563_930),
        ("wrn-40-4", 8_949_210),
        ("wrn-16-8", 10_961_370),
        ("wrn-22-8", 17_158_106),
        ("wrn-28-10", 36_479_194),
        ("wrn-28-12", 52_517_850),
        # Zhang et al. 2019 (arXiv:1901.08573): 46.2 million
        ("wrn-34-10", 46_160_474),
        # Gowal et al. 2020 (arXiv:2010.03593): 267 million
        ("wrn-70-16-silu", 266_796_506),
    ],
)
def test_networks_for_cifar_10_have_the_published_size(encoder: str, parameters: int):
    with torch.device("meta"):
        built = small(encoder, width=64, channels=3, image_size=32)
    assert count(built) == parameters


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("channels", "image_size"), [(1, 8), (1, 28), (3, 32)])
def test_every_encoder_takes_every_size(encoder: str, channels: int, image_size: int):
    built = small(encoder, channels=channels, image_size=image_size).eval()
    x = torch.rand(3, channels, image_size, image_size)
    assert built.F_theta(x).shape == (3, built.features)
    assert built(x).shape == (3, 10)


def test_feature_norms():
    z = torch.tensor([[3.0, 4.0]])
    assert FeatureNorm("none")(z).tolist() == [[3, 4]]
    assert FeatureNorm("l2")(z)[0].tolist() == pytest.approx([0.6, 0.8])
    assert FeatureNorm("scale")(z)[0].tolist() == pytest.approx([6, 8])


def test_a_cosine_classifier_ignores_lengths():
    head = CosineClassifier(2, 2, scale=10.0)
    head.weight.data = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    z = torch.tensor([[2.0, 0.0], [0.0, 7.0]])
    # angles of 0, 45, 90 and 45 degrees
    assert head(z).flatten().tolist() == pytest.approx([10, 50**0.5, 0, 50**0.5], abs=1e-5)


def test_the_norm_is_part_of_the_saved_model():
    saved = network("lenet", norm="l2").state_dict()
    with pytest.raises(CorruptError, match="normalised by 'l2', this network's by 'none'"):
        network("lenet", norm="none").load_state_dict(saved)


def built_discriminator(kind: str, spectral_norm: bool = True) -> discriminator.Discriminator:
    torch.manual_seed(0)
    return discriminator.build(kind, features=8, classes=5, hidden=16, spectral=spectral_norm)


@pytest.mark.parametrize(
    ("kind", "layers", "sees_labels"), [("fc1-pd", 1, True), ("fc3", 3, False), ("fc3-pd", 3, True)]
)
def test_discriminators_of_table_a5(kind: str, layers: int, sees_labels: bool):
    D_psi = built_discriminator(kind)
    z, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    assert D_psi.eval()(z, y).shape == (4,)
    assert sum(isinstance(module, torch.nn.Linear) for module in D_psi.modules()) == layers
    assert torch.equal(D_psi(z, y), D_psi(z, (y + 1) % 5)) != sees_labels


def test_layers_before_the_score_are_leaky():
    D_psi = built_discriminator("fc3", spectral_norm=False)
    first, second = (module for module in D_psi.body if isinstance(module, torch.nn.Linear))
    h = z = torch.randn(4, 8)
    for layer in (first, second):
        h = h @ layer.weight.T + layer.bias
        h = torch.where(h > 0, h, 0.2 * h)
    assert torch.allclose(D_psi(z, None), D_psi.score(h).squeeze(1), atol=1e-6)


def test_the_projection_is_a_dot_product_with_the_label():
    D_psi = built_discriminator("fc1-pd", spectral_norm=False)
    z, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    linear = z @ D_psi.score.weight[0] + D_psi.score.bias
    assert torch.allclose(D_psi(z, y), linear + (z * D_psi.embedding.weight[y]).sum(1), atol=1e-6)
    assert torch.allclose(D_psi(z, None), linear, atol=1e-6)


def test_spectral_norm_bounds_every_layer():
    D_psi = built_discriminator("fc3-pd")
    for _ in range(50):  # one power iteration each
        D_psi(torch.randn(2, 8), torch.tensor([0, 1]))
    weights = [module.weight for module in D_psi.modules() if isinstance(module, torch.nn.Linear | torch.nn.Embedding)]
    assert len(weights) == 4
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, ord=2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("width", "channels_last"), [(16, True), (4, False)])
def test_channels_last_only_where_channels_fill_vectors(width: int, channels_last: bool):
    weight = network("resnet18", channels=3, image_size=32, width=width).F_theta[0].stages[1][0].first.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "safe"),
    [
        (3, 16, 3, 2, True),
        (16, 32, 1, 2, True),
        (3, 16, 1, 1, True),
        (3, 16, 1, 2, False),
        (16, 4, 3, 1, False),
    ],
)
def test_a_strided_convolution_of_few_channels_is_not_in_channels_last(
    inputs: int, outputs: int, kernel: int, stride: int, safe: bool
):
    """A patch of one pixel of the image, as an encoder of a user may begin with, writes out of bounds in oneDNN."""
    assert safe_with_channels_last(torch.nn.Conv2d(inputs, outputs, kernel, stride)) == safe


def test_a_narrow_network_trains_on_large_images():
    """In channels last the backward pass of its 1x1 convolutions corrupts memory: not of a multiple of the threads."""
    built = network("resnet18", channels=3, image_size=64, width=4)
    built(torch.rand(33, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in built.parameters())
