"""Formats that hold tensors by name and leave the architecture to the reader: safetensors, and torch.save's."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.errors import RecipeError
from afdctl.export.weights.format import ExportedModel, Files, Logits, WeightFormat, as_strings, blank, of_strings
from afdctl.models.user_model import UserModel


def of_network(network: nn.Module) -> dict[str, Any]:
    """The state dict, each tensor with memory of its own; of a model of one's own by the names that it gives itself."""
    state = inner(network).state_dict()
    return {name: value.clone().contiguous() if isinstance(value, Tensor) else value for name, value in state.items()}


def inner(network: nn.Module) -> nn.Module:
    """The user's model without the normalisation in front of it, which is in the metadata."""
    return network.model if isinstance(network, UserModel) else network


def filled(facts: Mapping[str, Any], state: Mapping[str, Any]) -> nn.Module:
    """A new network with these weights; any name or shape that does not fit raises."""
    network = blank(facts)
    inner(network).load_state_dict(state)
    return network


def pack_torch(exported: ExportedModel) -> Files:
    buffer = BytesIO()
    torch.save({"state_dict": of_network(exported.network), "metadata": exported.about}, buffer)
    return {f"{exported.name}.pt": buffer.getvalue()}


def unpack_torch(files: Files) -> Logits:
    (data,) = files.values()
    payload = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    return filled(payload["metadata"], payload["state_dict"])


def pack_safetensors(exported: ExportedModel) -> Files:
    from safetensors.torch import save

    state = of_network(exported.network)
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    # that of a recipe's network is the way of its feature normalisation, which the metadata have
    if others and exported.about["kind"] == "external":
        raise RecipeError(f"--weights safetensors: holds tensors only, and the model has {others[0]}; take torch")
    tensors = {name: value for name, value in state.items() if name not in others}
    return {f"{exported.name}.safetensors": save(tensors, as_strings(exported.about))}


def unpack_safetensors(files: Files) -> Logits:
    from safetensors.torch import load

    (data,) = files.values()
    facts = of_strings(header(data)["__metadata__"])
    own = {name: value for name, value in inner(blank(facts)).state_dict().items() if not isinstance(value, Tensor)}
    return filled(facts, own | load(data))


def header(data: bytes) -> dict[str, Any]:
    """The JSON at the start of a safetensors file, its length in the first eight bytes: `load` leaves metadata out."""
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found


SAFETENSORS = WeightFormat(pack_safetensors, unpack_safetensors)
TORCH = WeightFormat(pack_torch, unpack_torch)
