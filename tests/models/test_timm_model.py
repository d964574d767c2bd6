"""Encoders of timm: features, sizes, modes, and the message of each mistake."""

import pytest
import torch

from afdctl.errors import RecipeError
from afdctl.models import timm_model
from afdctl.models.feature_classifier import build
from afdctl.models.fused import FusedModel


def test_without_timm_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timm_model, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"timm:resnet18': needs timm; pip install 'afdctl\[timm\]'"):
        build("timm:resnet18", channels=3, image_size=32, classes=10)


@pytest.mark.slow
class TestWithTimm:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("timm")

    @pytest.mark.parametrize("channels", [1, 3])
    def test_features_follow_the_last_layer_before_the_classifier(self, channels: int):
        """MobileNet has a layer after the pooling, which timm's own `num_features` leaves out."""
        network = build("timm:mobilenetv3_small_050", channels=channels, image_size=32, classes=10)
        assert network.features == 1024
        assert network(torch.rand(2, channels, 32, 32)).shape == (2, 10)

    def test_it_has_the_published_size(self):
        """ResNet-18 has 11,689,512 parameters (He et al. 2016; torchvision), 513,000 of them for ImageNet's classes."""
        network = build("timm:resnet18", channels=3, image_size=32, classes=10)
        assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512 - 513_000 + 5_130

    def test_nothing_is_downloaded(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connects"))
        build("timm:resnet18", channels=3, image_size=32, classes=10)

    def test_dropout_is_for_training_only(self):
        """Stochastic depth too: the attack sees the network that is evaluated."""
        network = build("timm:vit_tiny_patch16_224", channels=3, image_size=32, classes=10)
        network.F_theta[0].head_drop.p = 0.5
        x = torch.rand(4, 3, 32, 32)
        fused = FusedModel(network)
        assert network.F_theta[0].training
        assert not torch.equal(network(x), network(x))
        assert torch.equal(fused(x), fused(x))
        assert torch.allclose(fused(x), network.eval()(x), atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "side", "message"),
        [
            ("resnet81", 32, "has no such network (did you mean 'resnet18'?)"),
            ("resnet18", 8, "halves images down to 1/32 of their size, which leaves nothing of 8 x 8 pixels"),
            ("inception_v3", 32, "does not take images of 32 x 32 pixels with 3 channels (RuntimeError: "),
        ],
    )
    def test_mistakes(self, name: str, side: int, message: str):
        with pytest.raises(RecipeError) as raised:
            build(f"timm:{name}", channels=3, image_size=side, classes=10)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)
