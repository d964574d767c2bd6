"""A custom model: a function in a Python file, weights, and the normalisation that it was trained with."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from hashlib import sha256
from importlib import import_module
from itertools import chain
from math import isfinite
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from afdctl.errors import NotFoundError, RecipeError, fit_in_memory
from afdctl.formatting import did_you_mean, one_line_error, shorten, shorten_list, with_article
from afdctl.models import state_dict_io as files
from afdctl.models.user_code import Imports, blame_user_code, executing
from afdctl.paths import path as expanded
from afdctl.paths import read

# largest Python file that is read
CODE_BYTES = 1 << 24
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
        # stdout carries results only
        with self.imports.in_place(), redirect_stdout(sys.stderr), described:
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
    place, name = _parts(spec)
    with executing(Path(place).resolve().parent if _is_file(place) else Path.cwd()) as imports:
        module = _run_file(Path(place), imports) if _is_file(place) else _import(place, imports.texts)
        model = _build(module, name, place)
        training = any(part.training and isinstance(part, MODE_DEPENDENT) for part in model.modules())
        _try(model, shape)
    if weights is not None:
        files.load_state_dict_strict(model, files.state_dict(weights), weights)
    network = UserModel(model, imports, mean, std)
    # a copy, as imports of later passes are not part of the digest
    network.code = imports.texts | {"": name.encode()}
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
        if empty := [name for name, tensor in tensors.items() if tensor.is_meta]:
            raise RecipeError(
                f"the model has tensors without values, on the meta device ({shorten_list(empty)}); build it on the CPU"
            )
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        fit_in_memory(lambda n: model(torch.zeros(n, *shape, device=device)), 1)
    if unused := [name for name, tensor in chain(model.named_parameters(), model.named_buffers()) if is_lazy(tensor)]:
        raise RecipeError(f"the model does not use its lazy parameters {shorten_list(unused)}; they have no values")


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
    place, _ = _parts(spec)
    if _is_file(place):
        _read_code(Path(place))


def absolute(spec: str) -> str:
    """Return the spec with an absolute path, for any working directory."""
    place, name = _parts(spec)
    return f"{Path(place).resolve()}:{name}" if _is_file(place) else spec


def stem(spec: str) -> str:
    """Return a short name for the model, that of its file or module."""
    place, _ = _parts(spec)
    return Path(place).stem if _is_file(place) else place.rpartition(".")[2]


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


def _parts(spec: str) -> tuple[str, str]:
    """Return the file or module, and the name in it."""
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise RecipeError(f"--model '{shorten(spec)}': name a function too, such as path/to/file.py:build")
    return str(expanded(place)) if _is_file(place) else place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _read_code(path: Path) -> bytes:
    try:
        return read(path, CODE_BYTES)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror})") from None


def _run_file(path: Path, imports: Imports) -> ModuleType:
    """Execute the file from the text that the digest covers; an import could use an outdated .pyc."""
    text = _read_code(path)
    # the name is not part of the digest, as a file that was moved is the same model
    imports.texts["__file__"] = text
    module = ModuleType(f"afdctl_model_{path.stem}")
    module.__file__ = str(path)
    # dataclasses and pickle look up the module of a class there
    imports.modules[module.__name__] = sys.modules[module.__name__] = module
    with blame_user_code(lambda error: f"{_where(error, str(path))}: {one_line_error(error)}"):
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def _import(name: str, code: dict[str, bytes]) -> ModuleType:
    try:
        with blame_user_code(lambda error: f"--model {name}: {one_line_error(error)}"):
            module = import_module(name)
    except RecipeError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise NotFoundError(f"--model {name}: no such module; a file's name ends in .py") from error
        raise
    # the finder does not record an installed module
    if name not in code and module.__file__:
        code[name] = Path(module.__file__).read_bytes()
    return module


def _build(module: ModuleType, name: str, place: str) -> nn.Module:
    """Call the function or class `name`, or return it if it is a torch module already."""
    factory: Any = getattr(module, name, None)
    if factory is None:
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise RecipeError(f"{place}: has no '{name}' ({did_you_mean(name, names, 'it must be a function or a class')})")
    if isinstance(factory, nn.Module):
        return factory
    with blame_user_code(
        lambda error: f"{_where(error, module.__file__ or place)}: {name}() failed: {one_line_error(error)}"
    ):
        model = factory()
    if not isinstance(model, nn.Module):
        raise RecipeError(f"{place}: {name}() returned {with_article(type(model).__name__)}, not a torch.nn.Module")
    return model


def _where(error: BaseException, file: str) -> str:
    """Return `file:line` of the last line of the file in the exception's traceback."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}:{error.lineno}"
    numbers = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{numbers[-1]}" if numbers else file
