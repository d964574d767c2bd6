"""A run's network as a file of another library, and the check that it still is that network."""

from collections.abc import Mapping
from typing import Final

FORMATS: Final[Mapping[str, str]] = {
    "safetensors": "afdctl.export.weights.states:SAFETENSORS",
    "onnx": "afdctl.export.weights.graphs:ONNX",
    "pt2": "afdctl.export.weights.graphs:PT2",
    "torch": "afdctl.export.weights.states:TORCH",
    "robustbench": "afdctl.export.weights.robustbench:ROBUSTBENCH",
}
"""Every format's name, and where its `Format` lies, for `registry.load`."""
SUFFIXES: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors", ".onnx": "onnx", ".pt2": "pt2", ".pt": "torch", ".pth": "torch",
}  # fmt: skip
