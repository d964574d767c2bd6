"""What `robustbench.utils.load_model` reads: a state dict in its folders, and the architecture as a Python file.

The loader takes a name's architecture from its tables, and the weights from `MODEL_DIR/DATASET/THREAT_MODEL/NAME.pt`, a
bare state dict. It downloads a missing file. The Python file therefore adds its `build` to the tables. It is made of
afdctl's own source text, so that it cannot differ from the trained network, and needs only torch.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import getsource
from io import BytesIO
from pprint import pformat
from typing import Any

import torch

from afdctl.errors import RecipeError
from afdctl.export.weights.format import ExportedModel, Files, Logits, WeightFormat
from afdctl.export.weights.single_file import copy_state
from afdctl.models.feature_classifier import CosineClassifier, FeatureClassifier, FeatureNorm
from afdctl.name_families import TIMM
from afdctl.registry import ENCODERS

# the data sets that its loader knows
DATASETS = ("cifar10", "cifar100")
THREAT_MODELS = {"linf": "Linf", "l2": "L2"}
AFDCTL_IMPORT = re.compile(r"^from (afdctl\.models\.\w+) import .*\n", re.MULTILINE)

USAGE = """In the folder of this file:

    import {name}, robustbench
    {name}.register()
    network = robustbench.load_model("{name}", model_dir=".", dataset="{dataset}", threat_model="{threat}")"""

USAGE_WITHOUT_LOADER = """RobustBench's load_model does not know {dataset}. In the folder of this file:

    import {name}, torch
    network = {name}.build()
    network.load_state_dict(torch.load("{path}", weights_only=True))"""

HEAD = '''"""{name}: a network trained by afdctl. Maps images (n, c, h, w) in [0, 1] to logits.

{usage}
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

METADATA = {metadata}


class CorruptError(ValueError):
    """The weights are of a network with another feature normalisation."""
'''

BUILD = '''
def build() -> nn.Module:
    """Build the network with random weights."""
    encoder, features = {encoder}(channels={channels}, image_size={image_size}{arguments})
    return FeatureClassifier(encoder, features, {classes}, "{norm}", {cosine_scale}).eval()
'''

REGISTER = '''
def register() -> None:
    """Add the network to the tables of RobustBench's load_model, in this process."""
    from robustbench.model_zoo import model_dicts
    from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel

    # load_model does not download from this id while the file of weights is in its folder
    entry = {{"model": build, "gdrive_id": "none"}}
    model_dicts[BenchmarkDataset("{dataset}")][ThreatModel("{threat}")]["{name}"] = entry
'''


def pack(model: ExportedModel) -> Files:
    """Save the state dict, and the Python file. Error: RecipeError for a custom model and for timm's networks."""
    metadata = model.metadata
    if metadata["kind"] == "external":
        raise RecipeError(
            "--weights robustbench: the architecture of a custom model is in the user's own file, which cannot be "
            "copied; register it with RobustBench yourself, and use --weights torch for the weights"
        )
    if metadata["encoder"].startswith(TIMM.prefix):
        raise RecipeError(
            "--weights robustbench: its file needs only torch, but this network is built by timm; use --weights torch"
        )
    name = re.sub(r"\W", "_", model.name)
    # the user imports the file by this name
    name = name if name.isidentifier() else f"_{name}"
    dataset, threat = metadata["dataset"], THREAT_MODELS[metadata["threat_model"]]
    path = f"{dataset}/{threat}/{name}.pt"
    fields = {"name": name, "dataset": dataset, "threat": threat, "path": path}
    if dataset in DATASETS:
        code = standalone_source(name, metadata, USAGE.format(**fields), REGISTER.format(**fields))
    else:
        code = standalone_source(name, metadata, USAGE_WITHOUT_LOADER.format(**fields))
    buffer = BytesIO()
    torch.save(copy_state(model.network), buffer)
    return {path: buffer.getvalue(), f"{name}.py": code.encode()}


def unpack(files: Files) -> Logits:
    """Build the network by executing the Python file, and load the weights."""
    weights, code = files.values()
    namespace: dict[str, Any] = {"__name__": "standalone"}
    # our own text, written a moment ago; without this module's compiler flags, as the user will import it
    exec(compile(code, "standalone.py", "exec", dont_inherit=True), namespace)
    network = namespace["build"]()
    network.load_state_dict(torch.load(BytesIO(weights), map_location="cpu", weights_only=True))
    logits: Logits = network
    return logits


def standalone_source(name: str, metadata: Mapping[str, Any], usage: str, end: str = "") -> str:
    """Compose the Python file: usage and metadata, the architecture's classes, `build()`, and `end`."""
    descriptor = ENCODERS[metadata["encoder"]]
    module, encoder = descriptor.place.split(":")
    own = {key: metadata[key] for key in descriptor.keys} | dict(descriptor.arguments)
    channels, image_size, _ = metadata["input_shape"]
    build = BUILD.format(
        encoder=encoder,
        channels=channels,
        image_size=image_size,
        arguments="".join(f", {key}={value!r}" for key, value in own.items()),
        classes=len(metadata["class_names"]),
        norm=metadata["feature_norm"],
        cosine_scale=metadata.get("cosine_scale"),
    )
    head = HEAD.format(name=name, usage=usage, metadata=pformat(dict(metadata), sort_dicts=False, width=110))
    layers = [getsource(layer) for layer in (FeatureNorm, CosineClassifier, FeatureClassifier)]
    parts = [head, *_module_sources(module), *_module_sources("afdctl.models.precision"), *layers, build, end]
    return "\n\n".join(part.strip("\n") + "\n" for part in parts if part)


def _module_sources(name: str) -> Iterator[str]:
    """Yield the source of an afdctl module after that of the modules it imports, without those imports."""
    text = getsource(import_module(name))
    for imported in AFDCTL_IMPORT.findall(text):
        yield from _module_sources(imported)
    yield AFDCTL_IMPORT.sub("", text)


ROBUSTBENCH = WeightFormat(pack, unpack)
