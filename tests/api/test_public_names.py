"""Test that `import afdctl` is light, and that its public names exist for people, editors and type checkers."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import afdctl

ROOT = Path(afdctl.__file__).parents[1]
LOADED = """
import sys, afdctl
before = sorted({"torch", "numpy", "pydantic", "typer"} & set(sys.modules))
afdctl.AfdctlError, dir(afdctl)
print(before, "torch" in sys.modules)
"""


def test_importing_afdctl_imports_nothing_heavy():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, env=environment, check=False)
    assert (ended.stdout, ended.stderr) == ("[] False\n", "")


def test_type_checkers_and_python_see_the_same_names():
    tree = ast.parse((ROOT / "afdctl" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == afdctl._PLACES


def test_every_public_name_is_there_and_documented():
    page = (ROOT / "docs" / "api.md").read_text()
    for name in afdctl._PLACES:
        assert getattr(afdctl, name).__doc__
        assert name in dir(afdctl)
        assert f"`{name}" in page or f"afdctl.{name}" in page, name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'afdctl' has no attribute 'trian'"):
        _ = afdctl.trian  # type: ignore[attr-defined]
