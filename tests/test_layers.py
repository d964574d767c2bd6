"""The layers of the package: who may import what, and what a quick command must not load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import afdctl

PACKAGE = Path(afdctl.__file__).parent
LAYERS = [
    {"errors", "paths", "formatting", "registry", "recipe", "suites", "journal", "interrupts"},
    {"runs"},
    {"data", "models", "losses", "metrics", "attacks"},
    {"defenses"},
    {"training"},
    {"evaluation"},
    {"analysis"},
    {"export"},
    {"bench"},
    {"tui"},
    {"cli"},
    {"__main__"},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
CLI = LAYER["cli"]

LIBRARIES = [{"pydantic", "pydantic_core", "tomli", "tomli_w"}, {"h5py", "numpy"}, {"torch", "torchvision", "PIL"}]
"""What each layer adds to the libraries that the layers below it import at module scope."""
ALSO = {
    "cli": {"typer", "rich"},
    "export/figures": {"matplotlib"},
    "export/report/page": {"jinja2"},
}
"""Libraries of one part: those that print for people, what draws, and what fills templates."""
FOR_THE_SCREEN = {"h5py", "numpy", "textual", "rich", "psutil"}
"""All that the dashboard imports: it is a reader, and starts in a moment because it does not know torch."""
LATER = {
    "analysis": {"sklearn", "umap"},
    "export/raw": {"pyarrow"},
    "export/weights/single_file": {"onnxruntime", "safetensors"},
    "runs/checkpoints": {"torch"},
    "runs/provenance": {"torch"},
    "data": {"sklearn"},
    "models/state_dict_io": {"safetensors"},
    "tui": {"pynvml"},
}
"""What only a function's body may import."""
BARRED = {
    "losses": {"errors", "registry", "recipe", "journal", "runs"},
    "metrics": {"errors", "registry", "recipe", "journal", "runs"},
    "attacks": {"recipe", "suites", "journal", "runs"},
    "models": {"recipe", "suites", "journal", "runs"},
    "defenses": {"journal", "runs"},
    "journal": {"registry", "recipe", *LIBRARIES[0]},
    "errors": {"registry", "recipe", "journal", *LIBRARIES[0]},
}


def imports(tree: ast.AST, later: bool = False) -> Iterator[tuple[str, bool]]:
    """Each dotted name that the code imports, and whether a function does; not what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports only"
            yield from ((f"{node.module}.{alias.name}", later) for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports(node, later or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def allowed(file: str, name: str, later: bool) -> bool:
    """Whether `file` (such as `runs/run`) may import `name` (such as `afdctl.journal.read`)."""
    if name.startswith("matplotlib.pyplot"):
        # its figures and settings are global
        return False
    part, (top, *rest) = file.split("/")[0], name.split(".")
    own = (rest or ["afdctl"])[0] if top == "afdctl" else None
    if (own or top) in BARRED.get(part, ()) or top in sys.stdlib_module_names:
        return top in sys.stdlib_module_names
    if own and part == "tui":
        return LAYER.get(own, 0) <= LAYER["runs"] or own == "tui"
    if own:
        # a name of afdctl itself, such as its version, belongs to no layer
        layer = LAYER.get(own, 0)
        return layer <= LAYER[part] and (part != "cli" or later or layer in (0, CLI))
    if part == "cli":
        return later or top in ALSO["cli"]
    if part == "tui":
        return top in FOR_THE_SCREEN or (later and top in LATER["tui"])
    own_libraries = [also for place, also in ALSO.items() if f"{file}/".startswith(f"{place}/")]
    libraries = set().union(*LIBRARIES[: LAYER[part] + 1], *own_libraries)
    return top in libraries or (later and top in LATER.get(file, set()) | LATER.get(part, set()))


def violations(file: str, source: str) -> list[str]:
    return [name for name, later in imports(ast.parse(source)) if not allowed(file, name, later)]


FILES = [path.relative_to(PACKAGE).with_suffix("").as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__"])
def test_imports_point_down_only(file: str):
    assert file.split("/")[0] in LAYER, "give it a layer in LAYERS"
    assert violations(file, (PACKAGE / f"{file}.py").read_text()) == []


def module_file(name: str) -> str | None:
    """Return the file of a dotted name, which is a module, a package, or a name in one of them."""
    place = name.removeprefix("afdctl.").replace(".", "/")
    parent = place.rpartition("/")[0]
    return next((file for file in (place, f"{place}/__init__", parent, f"{parent}/__init__") if file in FILES), None)


def test_no_module_imports_itself_through_others():
    graph = {
        file: {
            imported
            for name, _ in imports(ast.parse((PACKAGE / f"{file}.py").read_text()))
            if (imported := module_file(name)) and imported != file
        }
        for file in FILES
    }
    assert "runs/run" in graph["runs/checkpoints"]
    # raises CycleError, which names the modules
    TopologicalSorter(graph).prepare()


def test_the_package_itself_imports_nothing():
    assert list(imports(ast.parse((PACKAGE / "__init__.py").read_text()))) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cli/train", "import torch"),
        ("cli/progress", "from afdctl.runs.run import Run"),
        ("cli/train", "from afdctl import runs"),
        ("runs/run", "import torch"),
        ("runs/run", "def save():\n    import torch"),
        ("recipe/load", "import h5py"),
        ("journal/reader", "import pydantic"),
        ("journal/reader", "from afdctl.recipe import load"),
        ("attacks/pgd", "from afdctl.journal import Journal"),
        ("defenses/afd", "def step():\n    from afdctl.runs import checkpoints"),
        ("losses", "from afdctl import journal"),
        ("models/resnet", "from afdctl.training.trainer import Trainer"),
        ("training/trainer", "def train():\n    from afdctl.cli import progress"),
        ("data/digits", "from sklearn.datasets import load_digits"),
        ("tui/app", "import torch"),
        ("tui/app", "def draw():\n    import torch"),
        ("tui/app", "from afdctl.training.trainer import Trainer"),
        ("tui/app", "from afdctl import metrics"),
        ("tui/panes/health", "import pynvml"),
        ("training/trainer", "from afdctl.tui.app import Dashboard"),
        ("training/trainer", "import textual"),
        ("training/trainer", "def train():\n    from afdctl.bench.step_time import interleave"),
        ("models/cost", "from afdctl.defenses.base import Defense"),
        ("cli/watch", "from afdctl.tui.app import Dashboard"),
        ("export/report", "from matplotlib.figure import Figure"),
        ("evaluation/curves", "import matplotlib"),
        ("export/figures/style", "from matplotlib import pyplot"),
        ("cli/export_files", "from afdctl.export.figures.page import save"),
    ],
)
def test_what_points_up_is_found(file: str, source: str):
    assert len(violations(file, source)) == 1


QUICK = """
import sys
from afdctl.cli import main
sys.argv = ["afdctl", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "torchvision", "textual", "h5py", "foolbox", "sklearn", "matplotlib", "numpy"}
    print("loaded:", *heavy & set(sys.modules))
"""


COMMANDS = [
    "--help",
    "train --help",
    "recipes ls",
    "suites ls",
    "train nosuch",
    "train --device gpu",
    "train --detach nosuch",
    "sweep nosuch",
    "runs ls --json",
    "runs rm nosuch",
    "runs show nosuch",
    "runs compare nosuch",
    "runs rebuild nosuch",
    "export",
    "export nosuch --weights onnx",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quick_command_loads_nothing_heavy(command: str):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", QUICK, *command.split()], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.stdout.splitlines()[-1].strip() == "loaded:"
