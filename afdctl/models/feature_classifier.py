"""F_theta and C_phi: an encoder with normalised features, and a classifier of one layer; how fast they compute."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from afdctl.errors import CorruptError
from afdctl.models.precision import MixedPrecision, set_precision
from afdctl.models.user_encoder import build_encoder

# the modes of torch.compile that also capture CUDA graphs, where the module is on a CUDA device
CAPTURING_MODES: Final = ("reduce-overhead", "max-autotune")
# torch compiles at most eight variants of a function by default and runs further ones uncompiled. The network and its
# fused copies share one count: with and without gradients, for each batch size, a training reaches ten.
RECOMPILE_LIMIT: Final = 64
# channels in a vector of oneDNN
VECTOR: Final = 16


class FeatureNorm(nn.Module):
    """Normalises features z (n, m) to length 1 (`l2`), to a learnt length (`scale`), or not at all (`none`).

    The mode is part of the state dict. The published evaluation left this layer out of a network that was trained with
    it, which went unnoticed because the layer had no entry in the checkpoint.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.scale = nn.Parameter(torch.tensor(10.0)) if mode == "scale" else None

    def forward(self, z: Tensor) -> Tensor:
        if self.mode == "none":
            return z
        z = normalize(z)
        return z if self.scale is None else z * self.scale

    def get_extra_state(self) -> str:
        return self.mode

    def set_extra_state(self, state: str) -> None:
        if state != self.mode:
            raise CorruptError(
                f"the checkpoint's features are normalised by '{state}', this network's by '{self.mode}'"
            )


class CosineClassifier(nn.Linear):
    """Maps z (n, m) to logits: `scale` times the cosine of the angle between z and the weights of a class.

    Hypersphere embedding (Pang et al. 2020, arXiv:2002.08619).
    """

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__(features, classes, bias=False)
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * linear(normalize(z), normalize(self.weight))


class FeatureClassifier(nn.Module):
    """C_phi(F_theta(x)): images (n, c, h, w) in [0, 1] to logits (n, classes).

    Only the encoder may compute in bfloat16. C_phi costs next to nothing, and logits of 8 bits would often be equal.
    With `cosine_scale` C_phi is a `CosineClassifier`, otherwise linear.
    """

    def __init__(
        self, encoder: nn.Module, features: int, classes: int, norm: str, cosine_scale: float | None = None
    ) -> None:
        super().__init__()
        self.features = features
        self.F_theta = MixedPrecision(encoder, FeatureNorm(norm))
        self.cosine_scale = cosine_scale
        self.C_phi = (
            nn.Linear(features, classes) if cosine_scale is None else CosineClassifier(features, classes, cosine_scale)
        )
        self.frozen: tuple[str, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.C_phi(self.F_theta(x))
        return logits

    def freeze(self, parts: Sequence[str]) -> None:
        """Exclude parts (`F_theta`, `C_phi`) from training: no gradients, and evaluation mode whatever the network's.

        In training mode BatchNorm would move its running statistics.
        """
        self.frozen = tuple(parts)
        for part in parts:
            self.get_submodule(part).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self.frozen:
            self.get_submodule(part).eval()
        return self


def build(
    encoder: str,
    *,
    width: int | None = None,
    norm: str = "l2",
    cosine_scale: float | None = None,
    channels: int,
    image_size: int,
    classes: int,
    **own: Any,
) -> FeatureClassifier:
    """Build the network of an encoder in the registry or a user's; weights are drawn from torch's global generator.

    `width` is the number of base filters, of an encoder that has it. `norm` is that of the features (`FeatureNorm`),
    `cosine_scale` that of the logits (`CosineClassifier`), `own` are the further keys of a user's encoder. Errors:
    RecipeError for images that the encoder does not take.
    """
    base = {} if width is None else {"width": width}
    module, features = build_encoder(encoder, channels=channels, image_size=image_size, **base, **own)
    network = FeatureClassifier(
        encoder=module, features=features, classes=classes, norm=norm, cosine_scale=cosine_scale
    )
    # channels last is the fastest layout for convolutions, also on a CPU
    safe = all(safe_with_channels_last(layer) for layer in network.modules() if isinstance(layer, nn.Conv2d))
    return network.to(memory_format=torch.channels_last) if safe else network


def safe_with_channels_last(layer: nn.Conv2d) -> bool:
    """Whether oneDNN computes a convolution in channels last without writing out of bounds.

    It does so in the gradient of the weights of a strided 1x1 convolution whose input channels do not fill its vectors,
    where the images are no multiple of the threads: up to kilobytes beyond its buffer on maps of 14 x 14 and larger.
    Output channels are the next layer's input channels.
    """
    strided = layer.kernel_size == (1, 1) and layer.stride != (1, 1)
    return layer.out_channels % VECTOR == 0 and not (strided and layer.in_channels % VECTOR)


def set_performance(network: FeatureClassifier, precision: str, compile_mode: str | None) -> None:
    """Set the encoder's precision, and compile it unless the mode is None; fused copies made later follow."""
    set_precision(network, precision)
    if compile_mode:
        torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
        compile_in_place(network.F_theta[0], compile_mode)


def compile_in_place(module: nn.Module, mode: str) -> None:
    """Compile the calls of a module from images to features.

    Each batch size gets its own kernels. An epoch has two sizes, and kernels for any size would be slower for both.
    """
    module.compile(dynamic=False, mode=mode)
    # nn.Module does not store the mode, which `FusedModel` needs for its copy
    vars(module)["compile_mode"] = mode
    if mode in CAPTURING_MODES and any(parameter.is_cuda for parameter in module.parameters()):
        copy_results(module)


def copy_results(module: nn.Module) -> None:
    """Copy the results of a compiled module out of the memory of its CUDA graph.

    The next call overwrites that memory, or torch refuses to read it, but a step keeps features and gradients of one
    call during the next: AFD's gradients of L_C while it encodes x', APGD's best gradient while it searches on.
    """
    compiled: Callable[[Tensor], Tensor] | None = module._compiled_call_impl
    assert compiled is not None

    def call(x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            x = x.view_as(x)
            x.register_hook(torch.clone)  # type: ignore[no-untyped-call]
        return compiled(x).clone()

    module._compiled_call_impl = call
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.clone)  # type: ignore[no-untyped-call]
