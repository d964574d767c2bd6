"""Formats that hold the computation too, so that the reader needs no Python of ours: ONNX and torch.export's pt2."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import torch
from torch import Tensor
from torch.export import ExportedProgram

from afdctl.errors import RecipeError
from afdctl.export.weights.format import ExportedModel, Files, Logits, WeightFormat, as_strings
from afdctl.formatting import one_line_error

OPSET = 18
"""ONNX operators that torch's exporter writes without conversion; onnxruntime runs them since 1.14."""
METADATA = "metadata.json"
INPUT, OUTPUT = "images", "logits"


def pack_pt2(exported: ExportedModel) -> Files:
    buffer = BytesIO()
    with quiet():
        torch.export.save(traced(exported, "pt2"), buffer, extra_files={METADATA: json.dumps(exported.about)})
    return {f"{exported.name}.pt2": buffer.getvalue()}


def unpack_pt2(files: Files) -> Logits:
    (data,) = files.values()
    with quiet():
        return torch.export.load(BytesIO(data)).module()


def pack_onnx(exported: ExportedModel) -> Files:
    program = traced(exported, "onnx")
    with quiet(), writable("onnx"):
        written = torch.onnx.export(
            program,
            opset_version=OPSET,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "n"},),
            verbose=False,
        )
        assert written is not None
        written.model.metadata_props.update(as_strings(exported.about))
        return {f"{exported.name}.onnx": written.model_proto.SerializeToString()}


def unpack_onnx(files: Files) -> Logits:
    import onnxruntime

    (data,) = files.values()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def logits(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])

    return logits


def traced(exported: ExportedModel, name: str) -> ExportedProgram:
    """The network as a graph for any number of images; RecipeError where its code depends on more than shapes."""
    # a single image would make the tracer take 1 for a constant
    example = exported.x.new_zeros(2, *exported.x.shape[1:])
    with quiet(), writable(name):
        return torch.export.export(exported.network, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))


@contextmanager
def writable(name: str) -> Iterator[None]:
    """RecipeError where torch's exporter gives up, with its first words."""
    try:
        yield
    except Exception as error:
        raise RecipeError(
            f"--weights {name}: the model's code cannot be written as a graph for any number of images "
            f"({one_line_error(error.__cause__ or error)}); take torch or safetensors"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings to their own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


ONNX = WeightFormat(pack_onnx, unpack_onnx, needs=("onnx", "onnxscript", "onnxruntime"), extra="onnx")
PT2 = WeightFormat(pack_pt2, unpack_pt2)
