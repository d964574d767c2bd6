"""What a weight format must provide, the metadata it holds, and the check of its files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from afdctl import __version__, recipe
from afdctl.data.loader import as_floats
from afdctl.errors import AfdctlError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.formatting import one_line_error
from afdctl.models import user_model
from afdctl.models.feature_classifier import build

# test images that files are checked on
CHECK_IMAGES = 256
# largest difference of two logits, relative to the largest logit, that rounding explains. Other libraries sum float32
# in another order and fold BatchNorm into convolutions: 2e-6 through ResNet-18 on MNIST, and up to fifty times that
# through deeper networks. A wrong weight or a lost normalisation changes logits by their own order of magnitude. The
# check runs on the CPU in float32, because TF32 alone makes 1e-3.
ROUNDING = 1e-4

# contents by path relative to the output folder, the weights first
Files = Mapping[str, bytes]
# from images (n, c, h, w) in [0, 1] to logits (n, classes)
Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ExportedModel:
    """A network on the CPU in evaluation mode, with the images it is checked on: `x` float32 (n, c, h, w).

    `name` is the file's name without extension. The values of `metadata` are strings, numbers, and lists of them.
    """

    name: str
    network: nn.Module
    x: Tensor
    metadata: dict[str, Any]


@dataclass(frozen=True)
class WeightFormat:
    """A format: `pack` writes files, `unpack` reads them with the format's own library and nothing but the files.

    `pack` raises RecipeError for a network that the format cannot hold. `needs` are modules of the optional `extra`.
    """

    pack: Callable[[ExportedModel], Files]
    unpack: Callable[[Files], Logits]
    needs: tuple[str, ...] = ()
    extra: str = ""


def exported_model(target: EvaluationTarget) -> ExportedModel:
    """Prepare a target on the CPU for packing."""
    x = as_floats(target.split.x[:CHECK_IMAGES])
    return ExportedModel(f"{target.name}-{target.digest[:8]}", target.network, x, model_metadata(target))


def model_metadata(target: EvaluationTarget) -> dict[str, Any]:
    """Collect the metadata of a network: only names, numbers and lists of them, which every format can hold."""
    run = target.run
    common = {
        "schema": "afdctl/1",
        "afdctl": __version__,
        "run": run.name,
        "kind": run.kind,
        "checkpoint": target.digest,
        "dataset": target.dataset,
        "input_shape": list(target.split.x.shape[1:]),
        "input_range": [0.0, 1.0],
        "output": "logits",
        "class_names": list(target.class_names),
    }
    if run.kind == "external":
        return common | {key: run.provenance[key] for key in ("model", "mean", "std")}
    resolved = recipe.loads(run.recipe_text, run.path)
    model: dict[str, Any] = {"encoder": resolved.model.encoder, "feature_norm": resolved.model.norm}
    if resolved.model.width is not None:
        model["width"] = resolved.model.width
    if resolved.model.cosine_scale is not None:
        model["cosine_scale"] = resolved.model.cosine_scale
    return common | model | {"threat_model": resolved.attack.norm}


def to_strings(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Encode each value as JSON, for a format that holds only strings."""
    return {key: json.dumps(value) for key, value in metadata.items()}


def from_strings(strings: Mapping[str, str]) -> dict[str, Any]:
    """Decode the values that `to_strings` encoded."""
    return {key: json.loads(value) for key, value in strings.items()}


def build_network(metadata: Mapping[str, Any]) -> nn.Module:
    """Build the described network with random weights; a custom model's file is executed."""
    if metadata["kind"] == "external":
        return user_model.load(
            metadata["model"], None, metadata["mean"], metadata["std"], shape=metadata["input_shape"]
        )
    channels, image_size, _ = metadata["input_shape"]
    network = build(
        metadata["encoder"],
        width=metadata.get("width"),
        norm=metadata["feature_norm"],
        cosine_scale=metadata.get("cosine_scale"),
        channels=channels,
        image_size=image_size,
        classes=len(metadata["class_names"]),
    )
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class RoundTripCheck:
    """Of n images: the largest difference of two logits, its tolerance, and the number of differing predictions.

    Within the tolerance a prediction differs only where two classes tie, so `differing` is only reported.
    """

    n: int
    max_difference: float
    tolerance: float
    differing: int


@torch.no_grad()
def check_round_trip(model: ExportedModel, weight_format: WeightFormat, files: Files) -> RoundTripCheck:
    """Read the files back and compare the logits. Error: AfdctlError where they differ from the network's."""
    expected = model.network(model.x)
    if not expected.isfinite().all():
        raise AfdctlError(f"{model.name}: the run's own logits are NaN or infinite; export another checkpoint")
    try:
        logits = weight_format.unpack(files)(model.x)
    except Exception as error:
        raise AfdctlError(
            f"{model.name}: nothing written: the file cannot be read back ({one_line_error(error)})"
        ) from error
    check = compare_logits(expected, logits)
    # written so that NaN fails
    if not check.max_difference <= check.tolerance:
        raise AfdctlError(
            f"{model.name}: nothing written: read back, the logits of {check.n} test images differ by up to "
            f"{check.max_difference:.2g} (rounding allows {check.tolerance:.2g}), {check.differing} predictions differ"
        )
    return check


def compare_logits(expected: Tensor, logits: Any) -> RoundTripCheck:
    """Compare the network's logits (n, classes) with those of the file. Error: AfdctlError for another shape."""
    if logits.shape != expected.shape:
        raise AfdctlError(
            f"nothing written: read back, the model returns {tuple(logits.shape)}, not {tuple(expected.shape)}"
        )
    return RoundTripCheck(
        n=len(expected),
        max_difference=(expected - logits).abs().max().item(),
        tolerance=ROUNDING * expected.abs().max().item(),
        differing=int((expected.argmax(1) != logits.argmax(1)).sum()),
    )
