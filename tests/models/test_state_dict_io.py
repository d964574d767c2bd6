"""Weight files: what can be read, and the message of each mistake."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.formatting import one_line_error, shorten_list
from afdctl.models.state_dict_io import load_state_dict_strict, state_dict, stripped


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 10))


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize("wrapped", ["bare", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_a_state_dict_is_found_bare_or_wrapped_whatever_its_prefix(
    tmp_path: Path, network: nn.Module, wrapped: str, prefix: str
):
    state = prefixed(network.state_dict(), prefix)
    torch.save(state if wrapped == "bare" else {wrapped: state, "epoch": 3}, tmp_path / "w.pt")
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    load_state_dict_strict(network, state_dict(tmp_path / "w.pt"), tmp_path / "w.pt")
    assert all(torch.equal(value, state[prefix + name]) for name, value in network.state_dict().items())


def test_safetensors(tmp_path: Path, network: nn.Module):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    read = state_dict(tmp_path / "w.safetensors")
    assert all(torch.equal(read[name], value) for name, value in network.state_dict().items())


def test_a_prefix_that_the_network_itself_has_stays():
    assert stripped({"module.weight": 1}, ["module.weight"]) == {"module.weight": 1}
    assert stripped({"module.weight": 1, "bias": 2}) == {"module.weight": 1, "bias": 2}


def test_a_batchnorm_of_before_its_counter_fits(tmp_path: Path, network: nn.Module):
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("batches_tracked")}
    load_state_dict_strict(network, state, tmp_path)


MISFITS = [
    (lambda s: s.pop("3.bias"), "missing 3.bias"),
    (lambda s: s.update(extra=s["3.bias"]), "unexpected extra"),
    (lambda s: s.update({"3.weight": torch.zeros(100, 8)}), "3.weight is [100, 8], not [10, 8]"),
    (lambda s: [s.pop(name) for name in list(s)[:4]], "missing 0.weight, 0.bias, 1.weight and 1 more"),
    (lambda s: (s.pop("0.bias"), s.update(b=s["3.bias"])), "missing 0.bias; unexpected b"),
]


@pytest.mark.parametrize(("change", "message"), MISFITS)
def test_a_misfit_names_the_first_few_entries(network: nn.Module, change: Any, message: str):
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(RecipeError) as raised:
        load_state_dict_strict(network, state, Path("w.pt"))
    assert str(raised.value) == f"w.pt: does not fit the model: {message}"


def test_what_a_module_refuses_by_itself_is_one_line(network: nn.Module):
    def refuse(*_: Any) -> None:
        raise KeyError("first line\nsecond line")

    network.register_load_state_dict_pre_hook(refuse)
    with pytest.raises(RecipeError, match=r"^w.pt: does not fit the model: KeyError: .*first line.*$"):
        load_state_dict_strict(network, network.state_dict(), Path("w.pt"))


def whole(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def cut(path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), path)
    path.write_bytes(path.read_bytes()[:300])


NO_WEIGHTS = ": not a file of weights (.pt, .pth, .safetensors), or damaged"
UNREADABLE = [
    ("w.pt", lambda path: None, NotFoundError, "no such file"),
    ("w.pt", whole, CorruptError, "holds more than weights, and reading it would execute code; save model.state"),
    ("w.pt", cut, CorruptError, NO_WEIGHTS),
    ("w.pt", lambda path: path.write_bytes(b""), CorruptError, NO_WEIGHTS),
    ("w.pt", lambda path: path.write_bytes(b"hello"), CorruptError, NO_WEIGHTS),
    ("my.toml", lambda path: path.write_text('extends = "digits_wgan"\n'), CorruptError, NO_WEIGHTS),
    ("w.safetensors", lambda path: path.write_bytes(b"hello"), CorruptError, NO_WEIGHTS),
    ("w.pt", lambda path: torch.save(torch.ones(2), path), RecipeError, "no state dict but a Tensor; save model."),
    ("w.pt", lambda path: torch.save({}, path), RecipeError, "no state dict under state_dict or model_state_dict or"),
    ("w.pt", lambda path: torch.save({"a": 1, 2: 3}, path), RecipeError, "or model (keys: a, 2); save"),
    ("w.pt", lambda path: torch.save({"E_state_dict": {}}, path), RecipeError, "which `afdctl runs import` takes"),
]


@pytest.mark.parametrize(("name", "make", "kind", "message"), UNREADABLE)
def test_a_file_that_holds_no_weights(tmp_path: Path, name: str, make: Any, kind: type[AfdctlError], message: str):
    make(tmp_path / name)
    with pytest.raises(AfdctlError) as raised:
        state_dict(tmp_path / name)
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "weights_only" not in str(raised.value)


def test_a_long_list_is_cut():
    assert shorten_list(["a", "b"]) == "a, b"
    assert shorten_list(list("abcdef")) == "a, b, c and 3 more"


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "one"), ("errors:\n\tfirst\n\tsecond", "errors: first"), ("only:", "only:")],
)
def test_an_exception_is_one_line(text: str, line: str):
    assert one_line_error(ValueError(text)) == f"ValueError: {line}"
