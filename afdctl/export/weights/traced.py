"""Formats that hold the computation too, so that a reader does not need afdctl: ONNX and torch.export's pt2."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import torch
from torch import Tensor
from torch.export import ExportedProgram

from afdctl.errors import RecipeError
from afdctl.export.weights.format import ExportedModel, Files, Logits, WeightFormat, to_strings
from afdctl.formatting import one_line_error

# the ONNX version that torch's exporter writes without conversion; onnxruntime supports it since 1.14
OPSET = 18
METADATA = "metadata.json"
INPUT, OUTPUT = "images", "logits"


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
