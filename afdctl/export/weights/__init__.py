"""A run's network as a file of another library, and the check that it still is that network."""

from collections.abc import Mapping
from typing import Final

FORMATS: Final[Mapping[str, str]] = {
    "safetensors": "afdctl.export.weights.state_dict:SAFETENSORS",
    "onnx": "afdctl.export.weights.traced:ONNX",
    "pt2": "afdctl.export.weights.traced:PT2",
    "torch": "afdctl.export.weights.state_dict:TORCH",
    "robustbench": "afdctl.export.weights.robustbench:ROBUSTBENCH",
}
"""Every format's name, and where its `Format` lies, for `registry.load`."""
SUFFIXES: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt2": "pt2",
    ".pt": "torch",
    ".pth": "torch",
}
