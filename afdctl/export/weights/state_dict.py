"""Formats that hold named tensors and leave the architecture to the reader: safetensors and torch.save."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.errors import RecipeError
from afdctl.export.weights.format import (
    ExportedModel,
    Files,
    Logits,
    WeightFormat,
    build_network,
    from_strings,
    to_strings,
)
from afdctl.models.user_model import UserModel


def copy_state(network: nn.Module) -> dict[str, Any]:
    """Copy the state dict, each tensor with its own memory; a custom model keeps its own names."""
    state = without_normalisation(network).state_dict()
    return {name: value.clone().contiguous() if isinstance(value, Tensor) else value for name, value in state.items()}


def without_normalisation(network: nn.Module) -> nn.Module:
    """Return a custom model without the input normalisation, which is in the metadata."""
    return network.model if isinstance(network, UserModel) else network


def build_with_state(metadata: Mapping[str, Any], state: Mapping[str, Any]) -> nn.Module:
    """Build a network with these weights; raises for any name or shape that does not fit."""
    network = build_network(metadata)
    without_normalisation(network).load_state_dict(state)
    return network


def pack_torch(model: ExportedModel) -> Files:
    """Save a dictionary of state dict and metadata, readable with weights_only=True."""
    buffer = BytesIO()
    torch.save({"state_dict": copy_state(model.network), "metadata": model.metadata}, buffer)
    return {f"{model.name}.pt": buffer.getvalue()}


def unpack_torch(files: Files) -> Logits:
    """Load the weights into a new network."""
    (data,) = files.values()
    payload = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    return build_with_state(payload["metadata"], payload["state_dict"])


def pack_safetensors(model: ExportedModel) -> Files:
    """Save the tensors, and the metadata as JSON strings. Error: RecipeError for other state of a custom model."""
    from safetensors.torch import save

    state = copy_state(model.network)
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    # a recipe's network has only its kind of feature normalisation, which is in the metadata
    if others and model.metadata["kind"] == "external":
        raise RecipeError(f"--weights safetensors: holds tensors only, and the model has {others[0]}; use torch")
    tensors = {name: value for name, value in state.items() if name not in others}
    return {f"{model.name}.safetensors": save(tensors, to_strings(model.metadata))}


def unpack_safetensors(files: Files) -> Logits:
    """Load the tensors into a new network, which already has the state that is not a tensor."""
    from safetensors.torch import load

    (data,) = files.values()
    metadata = from_strings(_header(data)["__metadata__"])
    state = without_normalisation(build_network(metadata)).state_dict()
    others = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    return build_with_state(metadata, others | load(data))


def _header(data: bytes) -> dict[str, Any]:
    """Read the JSON at the start of a safetensors file: `load` does not return the metadata."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    return header


SAFETENSORS = WeightFormat(pack_safetensors, unpack_safetensors)
TORCH = WeightFormat(pack_torch, unpack_torch)
