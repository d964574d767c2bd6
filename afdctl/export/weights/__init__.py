"""A run's network as a file of another library, checked by reading it back."""

from collections.abc import Mapping
from typing import Final

# format -> where its WeightFormat is, for `registry.load`
FORMATS: Final[Mapping[str, str]] = {
    "safetensors": "afdctl.export.weights.single_file:SAFETENSORS",
    "onnx": "afdctl.export.weights.single_file:ONNX",
    "pt2": "afdctl.export.weights.single_file:PT2",
    "torch": "afdctl.export.weights.single_file:TORCH",
    "robustbench": "afdctl.export.weights.robustbench:ROBUSTBENCH",
}
SUFFIXES: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt2": "pt2",
    ".pt": "torch",
    ".pth": "torch",
}
