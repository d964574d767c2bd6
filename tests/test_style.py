"""Test that objects with many fields are constructed by keyword."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import afdctl

PACKAGE = Path(afdctl.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text()
    )
    for path in sorted(PACKAGE.rglob("*.py"))
}
# an object with more fields takes one positional argument at most, such as the value of a table's cell
MANY_FIELDS = 4


def field_count(definition: ast.ClassDef) -> int:
    """Return the number of arguments of a class: those of `__init__`, or the fields of a dataclass or named tuple."""
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            arguments = statement.args
            return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
    return sum(
        isinstance(statement, ast.AnnAssign) and not ast.unparse(statement.annotation).startswith("ClassVar")
        for statement in definition.body
    )


def large_classes(modules: Mapping[str, ast.Module]) -> set[str]:
    """Return the dotted names of the classes with many fields."""
    return {
        f"{module}.{node.name}"
        for module, tree in modules.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and field_count(node) > MANY_FIELDS
    }


def dotted_names(module: str, tree: ast.Module) -> dict[str, str]:
    """Return what the names of a module refer to: its own classes and its imports."""
    names = {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def positional_calls(module: str, tree: ast.Module, large: set[str]) -> Iterator[str]:
    """Yield the calls that construct an object of a large class from more than one positional argument."""
    names = dotted_names(module, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (
            len(node.args) > 1 or any(isinstance(arg, ast.Starred) for arg in node.args)
        ):
            first, *attributes = ast.unparse(node.func).split(".")
            if ".".join([names.get(first, first), *attributes]) in large:
                yield f"{module}:{node.lineno}: {ast.unparse(node)}"


LARGE_CLASSES = large_classes(MODULES)


def test_objects_with_many_fields_are_constructed_by_keyword():
    assert [call for module, tree in MODULES.items() for call in positional_calls(module, tree, LARGE_CLASSES)] == []


@pytest.mark.parametrize(
    "source",
    [
        "from afdctl.tui.drawing.plot import Plot\nPlot(curves, y)",
        "from afdctl.tui.drawing import plot\ndef draw():\n    plot.Plot(curves, y, ticks=ticks)",
        "from afdctl.attacks.ddn import DDNState\nDDNState(*values)",
        "class Tuple(NamedTuple):\n    a: int\n    b: int\n    c: int\n    d: int\n    e: int\nTuple(1, 2)",
    ],
)
def test_positional_construction_is_found(source: str):
    tree = ast.parse(source)
    assert len(list(positional_calls("module", tree, LARGE_CLASSES | large_classes({"module": tree})))) == 1


def test_keywords_and_one_leading_value_are_fine():
    tree = ast.parse("from afdctl.export.tables.paper import Measurement\nMeasurement(accuracy, n=n, seed=seed)")
    assert "afdctl.export.tables.paper.Measurement" in LARGE_CLASSES
    assert list(positional_calls("module", tree, LARGE_CLASSES)) == []
