"""Read weight files without executing code from them, and load them into networks."""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afdctl import paths
from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.formatting import one_line_error, shorten_list, with_article

# keys under which checkpoints store a state dict
WRAPPERS = ("state_dict", "model_state_dict", "model")
# what DataParallel and torch.compile put before every name
PREFIXES = ("module.", "_orig_mod.")
# largest file that is read: two billion float32 weights
FILE_BYTES = 1 << 33


def read(path: Path) -> Any:
    """Read a .safetensors file, or one that torch.save wrote, to the CPU. Errors: NotFoundError, CorruptError."""
    return parse(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a weight file. Errors: NotFoundError, RecipeError for a file that is too large."""
    try:
        return paths.read(path, FILE_BYTES)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror})") from None


def parse(data: bytes, path: Path) -> Any:
    """Parse the bytes of the file `path`, to tensors on the CPU. Error: CorruptError."""
    try:
        return _safetensors(data) if path.suffix == ".safetensors" else _pickled(data)
    except Exception as error:
        # a wrong byte can raise anything in the parsers
        if "GLOBAL" in str(error):
            raise CorruptError(
                f"{path}: holds more than weights, and reading it would execute code; save model.state_dict() instead"
            ) from error
        # without the parser's words: torch's recommend weights_only=False, which executes code
        raise CorruptError(f"{path}: not a file of weights (.pt, .pth, .safetensors), or damaged") from error


def state_dict(path: Path) -> dict[str, Any]:
    """Read a state dict, bare or under one of `WRAPPERS`. Errors: those of `read`, RecipeError for other content."""
    return find_state_dict(read(path), path)


def find_state_dict(payload: Any, path: Path) -> dict[str, Any]:
    """Return the state dict in the content of the file `path`. Error: RecipeError."""
    if isinstance(payload, Mapping):
        payload = next((payload[key] for key in WRAPPERS if isinstance(payload.get(key), Mapping)), payload)
    if not isinstance(payload, Mapping) or not payload or not all(map(is_weight, payload, payload.values())):
        raise RecipeError(f"{path}: no state dict {_content(payload)}; save model.state_dict() instead")
    return dict(payload)


def is_weight(name: Any, value: Any) -> bool:
    """Return whether a state dict may have this entry."""
    return isinstance(name, str) and (isinstance(value, Tensor) or name.endswith("_extra_state"))


def stripped(state: Mapping[str, Any], own: Sequence[str] = ()) -> dict[str, Any]:
    """Return the state without a prefix that all names have, unless the network's `own` names have it too."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state) and not any(n.startswith(prefix) for n in own):
            return stripped({name.removeprefix(prefix): value for name, value in state.items()}, own)
    return dict(state)


def load_state_dict_strict(network: nn.Module, state: Mapping[str, Any], where: Path) -> None:
    """Load the state dict of the file `where`. RecipeError names the first few entries that do not fit."""
    own = network.state_dict()
    state = stripped(state, list(own))
    shapes = [
        f"{name} is {list(state[name].shape)}, not {list(value.shape)}"
        for name, value in own.items()
        if isinstance(value, Tensor) and isinstance(state.get(name), Tensor) and state[name].shape != value.shape
    ]
    if shapes:
        raise RecipeError(f"{where}: does not fit the model: {shorten_list(shapes)}")
    try:
        mismatch = network.load_state_dict(state, strict=False)
    except AfdctlError:
        raise
    except Exception as error:
        raise RecipeError(f"{where}: does not fit the model: {one_line_error(error)}") from error
    missing = [name for name in mismatch.missing_keys if not name.endswith("_extra_state")]
    misfits = [(" missing ", missing), (" unexpected ", mismatch.unexpected_keys)]
    if any(names for _, names in misfits):
        problems = ";".join(f"{word}{shorten_list(names)}" for word, names in misfits if names)
        raise RecipeError(f"{where}: does not fit the model:{problems}")


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a .safetensors file, which its library reads only from a path."""
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _content(payload: Any) -> str:
    """Describe what a file contains instead of a state dict."""
    if not isinstance(payload, Mapping):
        return f"but {with_article(type(payload).__name__)}"
    if "E_state_dict" in payload:
        return "but a checkpoint of the authors' AFD code, which `afdctl runs import` takes"
    return f"under {' or '.join(WRAPPERS)} (keys: {shorten_list(list(map(str, payload)))})"


def _pickled(data: bytes) -> Any:
    return torch.load(BytesIO(data), map_location="cpu", weights_only=True)


def _safetensors(data: bytes) -> Any:
    from safetensors.torch import load

    return load(data)
