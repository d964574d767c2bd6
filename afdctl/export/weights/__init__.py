"""A run's network as a file of another library, checked by reading it back."""

from collections.abc import Mapping
from typing import Final

# format -> where its WeightFormat is, for `registry.load`
FORMATS: Final[Mapping[str, str]] = {
    "safetensors": "afdctl.export.weights.state_dict:SAFETENSORS",
    "onnx": "afdctl.export.weights.traced:ONNX",
    "pt2": "afdctl.export.weights.traced:PT2",
    "torch": "afdctl.export.weights.state_dict:TORCH",
    "robustbench": "afdctl.export.weights.robustbench:ROBUSTBENCH",
}
SUFFIXES: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt2": "pt2",
    ".pt": "torch",
    ".pth": "torch",
}
