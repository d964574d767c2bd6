"""Test who may import what, and that quick commands load nothing heavy."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import afdctl

PACKAGE = Path(afdctl.__file__).parent
# from the bottom up: a package imports itself and those above its line, so that no two packages import each other
LAYERS = [
    "errors",
    "formatting",
    "training_text",
    "image_counts",
    "interrupts",
    "paths",
    "user_code",
    "name_families",
    "descriptors",
    "names",
    "registry",
    "journal",
    "recipe",
    "suites",
    "runs",
    "losses",
    "metrics",
    "allreduce",
    "data",
    "models",
    "attacks",
    "defenses",
    "training",
    "evaluation",
    "analysis",
    "export",
    "bench",
    "cluster",
    "tui",
    "cli",
    "api",
    "__main__",
]
LEVEL = {part: number for number, part in enumerate(LAYERS)}

# what a package must not import, although it is in a lower layer
BARRED = {
    # pure functions on tensors
    "losses": {"errors", "registry", "recipe", "suites", "journal", "runs"},
    "metrics": {"errors", "registry", "recipe", "suites", "journal", "runs"},
    # algorithms take plain values, not config models
    "data": {"recipe", "suites", "journal", "runs"},
    "models": {"recipe", "suites", "journal", "runs"},
    "attacks": {"recipe", "suites", "journal", "runs"},
    "defenses": {"suites", "journal", "runs"},
    # a reader of runs, which starts in a moment because it does not know torch
    "tui": set(LAYERS[LEVEL["runs"] + 1 : LEVEL["tui"]]),
}

# libraries that a package and all above it import at module scope; the dashboard and the commands have their own lists
LIBRARIES = {
    "recipe": {"pydantic", "pydantic_core", "tomli", "tomli_w"},
    "runs": {"h5py", "numpy"},
    "losses": {"torch", "torchvision", "PIL"},
}
ONLY_LIBRARIES = {
    "tui": {"h5py", "numpy", "textual", "rich", "psutil"},
    "cli": {"typer", "rich"},
}
# libraries of one part only
ALSO = {
    "journal/rows": {"orjson"},
    "export/figures": {"matplotlib"},
    "export/report/page": {"jinja2"},
    "export/trackers/tensorboard": {"tensorboard"},
}
# libraries that one part imports inside functions only
LATER = {
    "analysis": {"sklearn", "umap"},
    "attacks/library_attack": {"foolbox"},
    "cluster/search": {"optuna"},
    "cluster/ray_cluster": {"ray"},
    "export/parquet": {"pyarrow"},
    "export/trackers/services": {"mlflow", "trackio", "wandb"},
    "export/weights/single_file": {"onnxruntime", "safetensors"},
    "runs/checkpoints": {"torch"},
    "user_code/global_state": {"numpy", "torch"},
    "runs/provenance": {"torch"},
    "data": {"safetensors", "sklearn"},
    "models/state_dict_io": {"safetensors"},
    "models/timm_model": {"timm"},
    "tui": {"pynvml"},
}


def imports(tree: ast.AST, later: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each imported dotted name, and whether a function imports it; skip imports for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports only"
            yield from ((f"{node.module}.{alias.name}", later) for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports(node, later or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def package_allowed(part: str, imported: str, later: bool) -> bool:
    """Whether `part` of afdctl may import `imported`, another part of it."""
    if imported not in LEVEL:
        # a name of afdctl itself, such as its version
        return True
    if part == "cli" and not later:
        # commands import what they need when they run, so that --help is quick
        return LEVEL[imported] < LEVEL["recipe"] or imported in ("recipe", "suites", "cli")
    return LEVEL[imported] <= LEVEL[part] and imported not in BARRED.get(part, ())


def library_allowed(file: str, library: str, later: bool) -> bool:
    """Whether `file` (such as `runs/run`) may import `library`, a top-level package outside afdctl."""
    part = file.split("/")[0]
    if library in sys.stdlib_module_names or (part == "cli" and later):
        return True
    libraries = set(ONLY_LIBRARIES.get(part, set()))
    if part not in ONLY_LIBRARIES:
        libraries.update(*(names for since, names in LIBRARIES.items() if LEVEL[since] <= LEVEL[part]))
    libraries.update(*(names for place, names in ALSO.items() if f"{file}/".startswith(f"{place}/")))
    return library in libraries or (later and library in LATER.get(file, set()) | LATER.get(part, set()))


def allowed(file: str, name: str, later: bool) -> bool:
    """Whether `file` (such as `runs/run`) may import `name` (such as `afdctl.journal.read`)."""
    if name.startswith("matplotlib.pyplot"):
        # its figures and settings are global
        return False
    top, *rest = name.split(".")
    if top == "afdctl":
        return package_allowed(file.split("/")[0], (rest or ["afdctl"])[0], later)
    return library_allowed(file, top, later)


def violations(file: str, source: str) -> list[str]:
    return [name for name, later in imports(ast.parse(source)) if not allowed(file, name, later)]


FILES = [path.relative_to(PACKAGE).with_suffix("").as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__"])
def test_imports_point_down_only(file: str):
    assert file.split("/")[0] in LEVEL, "add it to LAYERS"
    assert violations(file, (PACKAGE / f"{file}.py").read_text()) == []


def test_every_layer_exists():
    assert sorted(LAYERS) == sorted({file.split("/")[0] for file in FILES} - {"__init__"})


def test_no_module_imports_itself_in_a_circle():
    modules = {file.removesuffix("/__init__"): file for file in FILES}
    graph = {module: set(imported_modules(file, modules)) - {module} for module, file in modules.items()}
    # raises CycleError, which names the circle
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def imported_modules(file: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules of afdctl that `file` imports, in functions too."""
    for name, _ in imports(ast.parse((PACKAGE / f"{file}.py").read_text())):
        path = name.removeprefix("afdctl.").replace(".", "/")
        # a module, or a name in one; `afdctl` itself imports nothing
        yield from [module for module in (path, path.rpartition("/")[0]) if module in modules][:1]


def test_the_package_itself_imports_only_python():
    names = [name.split(".")[0] for name, _ in imports(ast.parse((PACKAGE / "__init__.py").read_text()))]
    assert [name for name in names if name not in sys.stdlib_module_names] == []


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
        ("attacks/autoattack", "def aa():\n    from afdctl.suites.schema import Aa"),
        ("models/feature_classifier", "from afdctl.recipe.schema import Model"),
        ("data/base", "from afdctl.recipe.schema import Data"),
        ("models/fused", "from afdctl.attacks.base import Model"),
        ("losses", "from afdctl import metrics"),
        ("recipe/load", "from afdctl.suites import load"),
        ("bench/report", "def report():\n    from afdctl.tui.app import Dashboard"),
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
        ("cli/export_modes", "from afdctl.export.figures.page import save"),
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
    "models ls",
    "train nosuch",
    "train --device gpu",
    "train --detach nosuch",
    "sweep nosuch",
    "sweep model:nosuch",
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
