"""Test that thresholds are checked against one another."""

from pathlib import Path

import pytest

from afdctl.errors import RecipeError
from afdctl.evaluation import thresholds

LIMITS = thresholds.defaults()


@pytest.mark.parametrize("name", [name for name, table in LIMITS if isinstance(table, thresholds.Gap)])
def test_an_indicator_warns_before_it_fails(name: str, tmp_path: Path):
    fail, warn = getattr(LIMITS, name).fail, getattr(LIMITS, name).warn
    with pytest.raises(RecipeError, match=rf"^--set {name}\.warn = 0\.9: must be at most {name}\.fail = {fail:g}$"):
        thresholds.load(None, [f"{name}.warn=0.9"])
    with pytest.raises(
        RecipeError, match=rf"^thresholds: {name}\.fail = 0\.01: must be at least {name}\.warn = {warn:g}$"
    ):
        thresholds.load(None, {f"{name}.fail": 0.01})
    file = tmp_path / "own.toml"
    file.write_text(f"[{name}]\nwarn = 0.9\n")
    with pytest.raises(RecipeError, match=rf"own\.toml:2: {name}\.warn = 0\.9"):
        thresholds.load(file)
    assert getattr(thresholds.load(file, [f"{name}.fail=0.9"]), name).fail == 0.9
