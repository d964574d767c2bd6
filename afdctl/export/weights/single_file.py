"""Formats of one file: tensors for afdctl to read (safetensors, torch), and programs without afdctl (ONNX, pt2)."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

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
from afdctl.formatting import one_line_error
from afdctl.models.state_dict_io import safetensors_metadata
from afdctl.models.user_model import UserModel

# the ONNX version that torch's exporter writes without conversion; onnxruntime supports it since 1.14
OPSET = 18
METADATA = "metadata.json"
INPUT, OUTPUT = "images", "logits"


def copy_state(network: nn.Module) -> dict[str, Any]:
    """Copy the state dict, each tensor with its own memory; a custom model keeps its own names."""
    # safetensors refuses tensors that share memory, such as tied weights
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
    metadata = from_strings(safetensors_metadata(data))
    state = without_normalisation(build_network(metadata)).state_dict()
    others = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    return build_with_state(metadata, others | load(data))


def pack_pt2(model: ExportedModel) -> Files:
    """Save the traced program, with the metadata as an extra file."""
    buffer = BytesIO()
    with _without_warnings():
        torch.export.save(trace(model, "pt2"), buffer, extra_files={METADATA: json.dumps(model.metadata)})
    return {f"{model.name}.pt2": buffer.getvalue()}


def unpack_pt2(files: Files) -> Logits:
    """Load the program."""
    (data,) = files.values()
    with _without_warnings():
        return torch.export.load(BytesIO(data)).module()


def pack_onnx(model: ExportedModel) -> Files:
    """Convert the traced program to ONNX, with the metadata as strings."""
    program = trace(model, "onnx")
    with _without_warnings(), _translate_errors("onnx"):
        onnx_program = torch.onnx.export(
            program,
            opset_version=OPSET,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "n"},),
            verbose=False,
        )
        assert onnx_program is not None
        onnx_program.model.metadata_props.update(to_strings(model.metadata))
        return {f"{model.name}.onnx": onnx_program.model_proto.SerializeToString()}


def unpack_onnx(files: Files) -> Logits:
    """Load the program into onnxruntime, on the CPU."""
    import onnxruntime

    (data,) = files.values()
    options = onnxruntime.SessionOptions()
    # errors only
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])

    return logits


def trace(model: ExportedModel, name: str) -> ExportedProgram:
    """Trace the network for any number of images. Error: RecipeError where its code depends on more than shapes."""
    # with a single image the tracer would treat the 1 as a constant
    example = model.x.new_zeros(2, *model.x.shape[1:])
    with _without_warnings(), _translate_errors(name):
        return torch.export.export(model.network, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Raise RecipeError with the first words of an error of torch's exporter."""
    try:
        yield
    except Exception as error:
        raise RecipeError(
            f"--weights {name}: the model's code cannot be traced for any number of images "
            f"({one_line_error(error.__cause__ or error)}); use torch or safetensors"
        ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress the exporters' warnings, which are for their developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


ONNX = WeightFormat(pack_onnx, unpack_onnx, needs=("onnx", "onnxscript", "onnxruntime"), extra="onnx")
PT2 = WeightFormat(pack_pt2, unpack_pt2)
SAFETENSORS = WeightFormat(pack_safetensors, unpack_safetensors)
TORCH = WeightFormat(pack_torch, unpack_torch)
