"""A custom model: a function in a Python file, weights, and the normalisation that it was trained with."""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.errors import RecipeError, fit_in_memory
from afdctl.formatting import one_line_error, with_article
from afdctl.models import state_dict_io as files
from afdctl.models.valueless import check_values
from afdctl.user_code.code import UserCode, blame_user_code, import_named, read_code, run_file
from afdctl.user_code.imports import Imports, executing
from afdctl.user_code.spec import Spec, shown

# modules that behave differently in training mode
MODE_DEPENDENT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class UserModel(nn.Module):
    """A user's model for images x (n, c, h, w) in [0, 1], which it gets as (x - mean) / std if a mean is given.

    `code` has the executed texts by module, and the function's name under the empty name. `warnings` are messages for
    the user. `imports` are current during a pass, as a model may import late.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, model: nn.Module, imports: Imports, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.model, self.imports = model, imports
        self.register_buffer("mean", None if mean is None else torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", None if std is None else torch.tensor(std).view(1, -1, 1, 1))
        self.code: dict[str, bytes] = {}
        self.warnings: list[str] = []

    def forward(self, x: Tensor) -> Any:
        """Return the model's output unchecked (`evaluation.sanity_checks` checks it). RecipeError if it raises."""
        # a copy, as a model that normalises in place would change the image under evaluation
        x = x.clone() if self.mean is None or self.std is None else (x - self.mean) / self.std
        described = blame_user_code(lambda error: f"the model raised {one_line_error(error)}")
        with self.imports.in_place(), described:
            return self.model(x)


def load(
    spec: str,
    weights: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    *,
    shape: Sequence[int],
) -> UserModel:
    """Build the model `path/to/file.py:build` or `package.module:build`, frozen, in float32 and evaluation mode.

    Executes the file and passes an image of `shape` (c, h, w) through the model, so that lazy parameters get their
    shapes and late imports are recorded. `weights` is a .safetensors file, or one that torch.save wrote.
    Errors, each of one line: RecipeError, NotFoundError for a missing file, CorruptError for unreadable weights.
    """
    _check_normalisation(mean, std)
    where = parse(spec)
    with executing(where.folder) as imports:
        module = run_file(where.file, imports) if where.file else import_named(where.module, imports)
        model = _build(UserCode(where.place, module, imports), where.name)
        training = any(part.training and isinstance(part, MODE_DEPENDENT) for part in model.modules())
        _try(model, shape)
    if weights is not None:
        files.load_state_dict_strict(model, files.state_dict(weights), weights)
    network = UserModel(model, imports, mean, std)
    # a copy, as imports of later passes are not part of the digest
    network.code = imports.texts | {"": where.name.encode()}
    if training:
        network.warnings.append("the model came in training mode; it is measured in evaluation mode")
    return network.eval().requires_grad_(False)


def _try(model: nn.Module, shape: Sequence[int]) -> None:
    """Pass one image through the model, in float32 and evaluation mode. RecipeError if it fails."""
    shown = f"(1, {', '.join(map(str, shape))})"
    with (
        blame_user_code(lambda error: f"the model rejects images of shape {shown}: {one_line_error(error)}"),
        torch.no_grad(),
    ):
        model.float().eval()
        tensors = dict(chain(model.named_parameters(), model.named_buffers()))
        check_values(model, "the model", lazy_allowed=True)
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        fit_in_memory(lambda n: model(torch.zeros(n, *shape, device=device)), 1)
    # unused in the pass
    check_values(model, "the model")


def digest(network: UserModel) -> str:
    """Return SHA-256 in hex of the executed texts, the function's name, and all parameters and buffers.

    The normalisation is included. Where the weights were loaded from does not matter.
    """
    sha = sha256()
    for name, text in sorted(network.code.items()):
        sha.update(f"{name} {len(text)} ".encode() + text)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        with blame_user_code(partial(_unreadable, name)):
            sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _unreadable(name: str, error: Exception) -> str:
    return f"the model's tensor {name} cannot be read: {one_line_error(error)}"


def check_spec(spec: str) -> None:
    """Raise RecipeError for a spec without a function, NotFoundError for an unreadable file; execute nothing."""
    if file := parse(spec).file:
        read_code(file)


def parse(spec: str) -> Spec:
    """Parse the spec of --model, relative to the working directory."""
    try:
        return Spec.parse(spec, Path.cwd())
    except RecipeError as error:
        raise RecipeError(f"--model {error}") from None


def _check_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if (mean is None) != (std is None):
        raise RecipeError("--mean and --std belong together; give both, a value per channel, or neither")
    if mean is None or std is None:
        return
    if len(mean) != len(std):
        raise RecipeError(f"--mean has {len(mean)} values and --std {len(std)}; give one per channel in each")
    if not all(isfinite(value) and value > 0 for value in std):
        raise RecipeError(f"--std {_commas(std)}: must be greater than 0, as images are divided by it")
    if not all(0 <= value <= 1 for value in mean):
        raise RecipeError(f"--mean {_commas(mean)}: images are in [0, 1]; did you mean {_commas(_over_255(mean))}?")


def _commas(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def _over_255(values: Sequence[float]) -> list[float]:
    return [value / 255 for value in values]


def _build(code: UserCode, name: str) -> nn.Module:
    """Call the function or class `name`, or return it if it is a torch module already."""
    factory = code.find(name)
    if isinstance(factory, nn.Module):
        return factory
    with code.blame(f"{name}() failed"):
        model = factory()
    if not isinstance(model, nn.Module):
        raise RecipeError(
            f"{shown(code.place)}: {name}() returned {with_article(type(model).__name__)}, not a torch.nn.Module"
        )
    return model
