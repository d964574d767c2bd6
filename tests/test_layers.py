"""The layers of the package: who may import what, and what a quick command must not load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import afdctl

PACKAGE = Path(afdctl.__file__).parent
LAYERS = [
    {"errors", "files", "formatting", "registry", "recipe", "profile", "events", "journal_rows"},
    {"store"},
    {"data", "models", "losses", "metrics", "attacks"},
    {"defenses"},
    {"train", "sweep", "analyses", "export"},
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
    "analyses": {"sklearn", "umap"},
    "export/parquet": {"pyarrow"},
    "export/weights/graphs": {"onnxruntime"},
    "export/weights/states": {"safetensors"},
    "store/checkpoints": {"torch"},
    "data": {"sklearn"},
    "models/weights": {"safetensors"},
    "tui": {"pynvml"},
}
"""What only a function's body may import."""
BARRED = {
    "losses": {"errors", "registry", "recipe", "events", "store"},
    "metrics": {"errors", "registry", "recipe", "events", "store"},
    "attacks": {"events", "store"},
    "defenses": {"events", "store"},
    "events": {"registry", "recipe", *LIBRARIES[0]},
    "errors": {"registry", "recipe", "events", *LIBRARIES[0]},
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
    """Whether `file` (such as `store/run`) may import `name` (such as `afdctl.events.read`)."""
    if name.startswith("matplotlib.pyplot"):
        # its figures and settings are global
        return False
    part, (top, *rest) = file.split("/")[0], name.split(".")
    own = (rest or ["afdctl"])[0] if top == "afdctl" else None
    if (own or top) in BARRED.get(part, ()) or top in sys.stdlib_module_names:
        return top in sys.stdlib_module_names
    if own and part == "tui":
        return LAYER.get(own, 0) <= LAYER["store"] or own == "tui"
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


def test_the_package_itself_imports_nothing():
    assert list(imports(ast.parse((PACKAGE / "__init__.py").read_text()))) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cli/train", "import torch"),
        ("cli/progress", "from afdctl.store.run import Run"),
        ("cli/train", "from afdctl import store"),
        ("store/run", "import torch"),
        ("store/run", "def save():\n    import torch"),
        ("recipe/load", "import h5py"),
        ("events", "import pydantic"),
        ("events", "from afdctl.recipe import load"),
        ("attacks/pgd", "from afdctl.events import Journal"),
        ("defenses/afd", "def step():\n    from afdctl.store import checkpoints"),
        ("losses", "from afdctl import events"),
        ("models/resnet", "from afdctl.train.loop import Trainer"),
        ("train/loop", "def train():\n    from afdctl.cli import progress"),
        ("data/digits", "from sklearn.datasets import load_digits"),
        ("tui/app", "import torch"),
        ("tui/app", "def draw():\n    import torch"),
        ("tui/app", "from afdctl.train.loop import Trainer"),
        ("tui/app", "from afdctl import metrics"),
        ("tui/panes/game", "import pynvml"),
        ("train/loop", "from afdctl.tui.app import Dashboard"),
        ("train/loop", "import textual"),
        ("train/loop", "def train():\n    from afdctl.bench.step_time import interleave"),
        ("models/cost", "from afdctl.defenses.base import Defense"),
        ("cli/watch", "from afdctl.tui.app import Dashboard"),
        ("export/report", "from matplotlib.figure import Figure"),
        ("sweep/figures", "import matplotlib"),
        ("export/figures/page", "from matplotlib import pyplot"),
        ("cli/exporting/figures", "from afdctl.export.figures.page import save"),
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
    "--help", "train --help", "recipes ls", "profiles ls", "train nosuch", "train --device gpu",
    "train --detach nosuch", "sweep nosuch", "runs ls --json", "runs rm nosuch", "runs show nosuch",
    "runs compare nosuch", "runs rebuild nosuch", "export", "export nosuch --weights onnx",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quick_command_loads_nothing_heavy(command: str):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", QUICK, *command.split()], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.stdout.splitlines()[-1].strip() == "loaded:"
