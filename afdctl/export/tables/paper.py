"""What the paper published, as its tables hold it."""

from functools import cache
from typing import Any

import tomli

from afdctl.recipe.find import PACKAGE

PERCENT = ("table1", "tableA3", "tableA5")
"""Tables whose figures are shares, published in percent."""


@cache
def published() -> dict[str, Any]:
    """The content of paper.toml."""
    return tomli.loads((PACKAGE / "paper.toml").read_text(encoding="utf-8"))


def row(table: str, **labels: str) -> dict[str, Any]:
    """Column -> figure of the row with these labels, shares in [0, 1]; empty where the paper has no such row."""
    for entry in published()[table]:
        if all(entry.get(key) == value for key, value in labels.items()):
            figures = {key: value for key, value in entry.items() if key not in labels}
            return {key: value / 100 for key, value in figures.items()} if table in PERCENT else figures
    return {}


def of_method(table: str, dataset: str, method: str) -> dict[str, Any]:
    """The row of a method; Tables A3 and A4 say AFD and do not tell which game they mean."""
    found = row(table, dataset=dataset, method=method)
    either = method in ("AFD-DCGAN", "AFD-WGAN")
    return found or (row(table, dataset=dataset, method="AFD") if either else {})
