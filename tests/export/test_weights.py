"""Test that each weight format holds the network and its metadata, and that a wrong file is refused."""

import ast
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

from afdctl import registry
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation.target import load_run_target, load_user_target
from afdctl.export.weights import FORMATS
from afdctl.export.weights import format as weight_format
from afdctl.export.weights.format import (
    ExportedModel,
    Files,
    WeightFormat,
    build_network,
    check_round_trip,
    compare_logits,
    exported_model,
)
from tests.conftest import short
from tests.models.encoders import ENCODERS
from tests.test_layers import imports
from tests.training.test_resume import train

CPU = torch.device("cpu")
METADATA = {
    "schema": "afdctl/1",
    "run": "r",
    "kind": "trained",
    "checkpoint": "0" * 64,
    "dataset": "cifar10",
    "input_shape": [3, 16, 16],
    "input_range": [0.0, 1.0],
    "output": "logits",
    "class_names": ["cat", "dog", "eel"],
    "encoder": "lenet",
    "width": 2,
    "feature_norm": "scale",
    "threat_model": "l2",
}


def form(name: str) -> WeightFormat:
    loaded: WeightFormat = registry.load(FORMATS, name)
    return loaded


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    run = train(short("digits_nt", "train.epochs=1", "model.norm=scale"), tmp_path_factory.mktemp("runs"))
    return exported_model(load_run_target(run, "best", CPU, None))


@pytest.fixture(scope="module")
def packed(trained: ExportedModel) -> Callable[[str], Files]:
    """Pack the trained network, once per format because ONNX takes seconds."""
    return cache(lambda name: form(name).pack(trained))


@pytest.fixture
def untrained() -> ExportedModel:
    torch.manual_seed(0)
    return ExportedModel("cifar-001-00000000", build_network(METADATA), torch.rand(8, 3, 16, 16), dict(METADATA))


BODY = "return self.net(x)"


def custom_model(folder: Path, body: str = BODY, more: str = "") -> ExportedModel:
    """Export a custom model with a normalisation."""
    (folder / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Mine(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n\n"
        f"    def forward(self, x):\n        {body}\n{more}"
    )
    spec = f"{folder / 'mine.py'}:Mine"
    target = load_user_target(spec, dataset="digits", runs=folder / "runs", device=CPU, mean=[0.2], std=[0.5])
    return exported_model(target)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_holds_the_network_for_any_number_of_images(
    trained: ExportedModel, packed: Callable[[str], Files], name: str
):
    files = packed(name)
    result = check_round_trip(trained, form(name), files)
    assert (result.n, result.differing) == (256, 0)
    assert result.max_difference <= 1e-5
    logits = form(name).unpack(files)
    for n in (1, 3):
        with torch.no_grad():
            torch.testing.assert_close(logits(trained.x[:n]), trained.network(trained.x[:n]))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_one_weight_a_little_off_is_found(trained: ExportedModel, name: str):
    network = build_network(trained.metadata)
    network.load_state_dict(trained.network.state_dict())
    with torch.no_grad():
        network.get_parameter("C_phi.bias")[3] += 0.01
    files = form(name).pack(replace(trained, network=network))
    with pytest.raises(AfdctlError, match=r"nothing written: .* 256 test images differ by up to 0\.01 \(rounding"):
        check_round_trip(trained, form(name), files)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_cannot_be_read_back_is_found(trained: ExportedModel, packed: Callable[[str], Files], name: str):
    files = dict(packed(name))
    first = next(iter(files))
    files[first] = files[first][: len(files[first]) // 2]
    with pytest.raises(AfdctlError, match="nothing written: the file cannot be read back"):
        check_round_trip(trained, form(name), files)


def test_differences_within_and_beyond_rounding():
    logits = torch.tensor([[1.0, 2.0], [-8.0, 4.0]])
    result = compare_logits(logits, logits + torch.tensor([[0.0, 5e-4], [0.0, 0.0]]))
    assert result.tolerance == pytest.approx(8e-4)
    assert result.max_difference == pytest.approx(5e-4, rel=1e-3)
    assert compare_logits(logits, logits.flip(1)).differing == 2
    with pytest.raises(AfdctlError, match=r"returns \(2, 1\), not \(2, 2\)"):
        compare_logits(logits, logits[:, :1])


def test_nan_fails_the_check(untrained: ExportedModel):
    nan = replace(form("torch"), unpack=lambda files: lambda x: torch.full((len(x), 3), torch.nan))
    with pytest.raises(AfdctlError, match="differ by up to nan"):
        check_round_trip(untrained, nan, {})
    with torch.no_grad():
        untrained.network.get_parameter("C_phi.bias")[0] = torch.nan
    with pytest.raises(AfdctlError, match="the run's own logits are NaN or infinite"):
        check_round_trip(untrained, form("torch"), form("torch").pack(untrained))


def metadata(name: str, data: bytes, folder: Path) -> dict[str, Any]:
    """Read the metadata without afdctl."""
    if name == "torch":
        stored: dict[str, Any] = torch.load(BytesIO(data), weights_only=True)["metadata"]
        return stored
    if name == "pt2":
        extra = {"metadata.json": ""}
        torch.export.load(BytesIO(data), extra_files=extra)
        return dict(json.loads(extra["metadata.json"]))
    if name == "onnx":
        import onnxruntime

        strings = onnxruntime.InferenceSession(data).get_modelmeta().custom_metadata_map
    else:
        from safetensors import safe_open

        (folder / "w").write_bytes(data)
        with safe_open(folder / "w", "pt") as file:
            strings = file.metadata()
    return {key: json.loads(value) for key, value in strings.items()}


@pytest.mark.parametrize("name", ["safetensors", "onnx", "pt2", "torch"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_file_holds_the_metadata(trained: ExportedModel, packed: Callable[[str], Files], tmp_path: Path, name: str):
    ((path, data),) = packed(name).items()
    assert path.startswith("run-001-")
    stored = metadata(name, data, tmp_path)
    assert stored == trained.metadata
    assert stored["class_names"] == [str(digit) for digit in range(10)]
    assert (stored["input_shape"], stored["input_range"], stored["output"]) == ([1, 8, 8], [0.0, 1.0], "logits")
    assert (stored["dataset"], stored["feature_norm"], len(stored["checkpoint"])) == ("digits", "scale", 64)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_standalone_file_needs_torch_only_and_builds_each_encoder(encoder: str):
    chosen = METADATA | {"encoder": encoder}
    if "width" not in registry.ENCODERS[encoder].keys:
        del chosen["width"]
    torch.manual_seed(0)
    model = ExportedModel("r-1", build_network(chosen), torch.rand(8, 3, 16, 16), chosen)
    files = form("robustbench").pack(model)
    assert list(files) == ["cifar10/L2/r_1.pt", "r_1.py"]
    check_round_trip(model, form("robustbench"), files)
    names = {name.split(".")[0] for name, _ in imports(ast.parse(files["r_1.py"]))}
    assert names - set(sys.stdlib_module_names) == {"torch", "robustbench"}


def test_a_cosine_classifier_is_exported():
    chosen = METADATA | {"cosine_scale": 15.0}
    model = ExportedModel("r-1", build_network(chosen), torch.rand(8, 3, 16, 16), chosen)
    for name in ("robustbench", "safetensors"):
        check_round_trip(model, form(name), form(name).pack(model))


def test_robustbench_finds_the_network_in_its_tables(untrained: ExportedModel, monkeypatch: pytest.MonkeyPatch):
    """Against the two names of `robustbench.model_zoo` that its load_model uses."""
    import sys
    from enum import Enum
    from types import ModuleType

    zoo, enums = ModuleType("robustbench.model_zoo"), ModuleType("robustbench.model_zoo.enums")
    datasets, threats = Enum("D", {"cifar_10": "cifar10"}), Enum("T", {"L2": "L2"})
    tables: dict[Any, Any] = {datasets("cifar10"): {threats("L2"): {}}}
    vars(zoo)["model_dicts"] = tables
    vars(enums).update(BenchmarkDataset=datasets, ThreatModel=threats)
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", zoo)
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo.enums", enums)
    weights, code = form("robustbench").pack(untrained).values()
    namespace: dict[str, Any] = {"__name__": "standalone"}
    exec(code, namespace)
    namespace["register"]()
    entry = tables[datasets("cifar10")][threats("L2")]["cifar_001_00000000"]
    assert entry["gdrive_id"] is not None
    entry["model"]().load_state_dict(torch.load(BytesIO(weights), weights_only=True), strict=True)


def test_only_robustbench_data_sets_are_registered(trained: ExportedModel):
    code = list(form("robustbench").pack(trained).values())[1].decode()
    assert "RobustBench's load_model does not know digits" in code
    assert "register" not in code


@pytest.mark.parametrize("name", ["safetensors", "onnx", "pt2", "torch"])
def test_a_custom_model_with_its_normalisation(tmp_path: Path, name: str):
    model = custom_model(tmp_path)
    result = check_round_trip(model, form(name), form(name).pack(model))
    assert result.max_difference <= 1e-5
    assert (model.metadata["mean"], model.metadata["std"], model.metadata["kind"]) == ([0.2], [0.5], "external")


def test_the_weights_of_a_custom_model_keep_their_names(tmp_path: Path):
    (data,) = form("torch").pack(custom_model(tmp_path)).values()
    assert list(torch.load(BytesIO(data), weights_only=True)["state_dict"]) == ["net.1.weight", "net.1.bias"]


STATE = "\n    def get_extra_state(self):\n        return 'x'\n\n    def set_extra_state(self, state):\n        pass\n"


@pytest.mark.parametrize(
    ("name", "body", "more", "message"),
    [
        ("robustbench", BODY, "", "use --weights torch for the weights"),
        ("safetensors", BODY, STATE, "holds tensors only, and the model has _extra_state; use torch"),
        ("onnx", "return self.net(x.view(len(x), -1))", "", "for any number of images"),
        ("pt2", "return self.net(x if x.sum() > 0 else -x)", "", "for any number of images"),
    ],
)
def test_what_a_format_cannot_hold_is_one_line(tmp_path: Path, name: str, body: str, more: str, message: str):
    model = custom_model(tmp_path, body, more)
    with pytest.raises(RecipeError, match=message) as raised:
        form(name).pack(model)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_all_images_of_a_small_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight_format, "CHECK_IMAGES", 7)
    model = custom_model(tmp_path)
    assert check_round_trip(model, form("torch"), form("torch").pack(model)).n == 7
