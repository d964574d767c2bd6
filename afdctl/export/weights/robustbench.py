"""What `robustbench.utils.load_model` reads: a state dict in its folders, and the architecture as a Python file.

The loader takes a name's architecture from its tables, and the weights from `MODEL_DIR/DATASET/THREAT_MODEL/NAME.pt`, a
bare state dict; it downloads where that file is missing. So the Python file puts its `build` into the tables.
"""

import re
from io import BytesIO
from typing import Any

import torch

from afdctl.errors import RecipeError
from afdctl.export.weights.format import ExportedModel, Files, Logits, WeightFormat
from afdctl.export.weights.standalone import source
from afdctl.export.weights.state_dict import of_network

KNOWN = ("cifar10", "cifar100")
"""The data sets of ours that its loader knows."""
THREATS = {"linf": "Linf", "l2": "L2"}

USE = """With this file's folder as the current one:

    import {name}, robustbench
    {name}.register()
    network = robustbench.load_model("{name}", model_dir=".", dataset="{dataset}", threat_model="{threat}")"""

USE_BARE = """RobustBench's load_model knows no {dataset}; with this file's folder as the current one:

    import {name}, torch
    network = {name}.build()
    network.load_state_dict(torch.load("{path}", weights_only=True))"""

REGISTER = '''
def register() -> None:
    """Make RobustBench's load_model know the network in this process."""
    from robustbench.model_zoo import model_dicts
    from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel

    # the id stands for a download that does not happen while the file of weights is in its place
    entry = {{"model": build, "gdrive_id": "none"}}
    model_dicts[BenchmarkDataset("{dataset}")][ThreatModel("{threat}")]["{name}"] = entry
'''


def pack(exported: ExportedModel) -> Files:
    facts = exported.about
    if facts["kind"] == "external":
        raise RecipeError(
            "--weights robustbench: the architecture of a model of one's own lies in its own file, which this cannot "
            "cut out; register its function with RobustBench yourself, and take --weights torch for the weights"
        )
    name = re.sub(r"\W", "_", exported.name)
    name = name if name.isidentifier() else f"_{name}"
    dataset, threat = facts["dataset"], THREATS[facts["threat_model"]]
    path = f"{dataset}/{threat}/{name}.pt"
    words = {"name": name, "dataset": dataset, "threat": threat, "path": path}
    known = dataset in KNOWN
    code = source(name, facts, (USE if known else USE_BARE).format(**words), REGISTER.format(**words) if known else "")
    buffer = BytesIO()
    torch.save(of_network(exported.network), buffer)
    return {path: buffer.getvalue(), f"{name}.py": code.encode()}


def unpack(files: Files) -> Logits:
    """By the written file's own `build`, which is executed."""
    weights, code = files.values()
    namespace: dict[str, Any] = {"__name__": "standalone"}
    exec(compile(code, "standalone.py", "exec", dont_inherit=True), namespace)
    network = namespace["build"]()
    network.load_state_dict(torch.load(BytesIO(weights), map_location="cpu", weights_only=True))
    logits: Logits = network
    return logits


ROBUSTBENCH = WeightFormat(pack, unpack)
