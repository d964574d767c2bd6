"""Published numbers of the paper, and the epsilons and attack settings behind them."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import tomli

from afdctl import recipe
from afdctl.errors import RecipeError
from afdctl.recipe.load import PACKAGE, packaged
from afdctl.runs.record import Record
from afdctl.suites import load

# tables published in percent
PERCENT_TABLES: Final = ("table1", "tableA3", "tableA5")
# Table 1's 0.3, 0.031 and 0.015, as Table A2's grids have them
LINF: Final = {"mnist": 0.3, "cifar10": 8 / 255, "cifar100": 8 / 255, "tiny_imagenet": 4 / 255}
DEFAULT_LINF: Final = 8 / 255
# C&W's epsilon of 1; on the digits' 8 x 8 pixels 8/28 of that, as suite paper-A2 scales it
L2: Final = {"digits": 0.29}


@cache
def published() -> dict[str, Any]:
    """Read paper.toml. The result is cached, so callers must not change it."""
    return tomli.loads((PACKAGE / "paper.toml").read_text(encoding="utf-8"))


@cache
def table_a2(dataset: str) -> dict[str, Any]:
    """Return the settings of each attack in Table A2; empty for a data set that suite paper-A2 does not cover."""
    try:
        return {spec.title: spec for spec in load.load("paper-A2", dataset).attacks}
    except RecipeError:
        return {}


def row(table: str, **labels: str) -> dict[str, Any]:
    """Return the published values by column of the row with these labels; shares in [0, 1]; empty for no such row."""
    for entry in published()[table]:
        if all(entry.get(key) == value for key, value in labels.items()):
            values = {key: value for key, value in entry.items() if key not in labels}
            return {key: value / 100 for key, value in values.items()} if table in PERCENT_TABLES else values
    return {}


def of_method(table: str, dataset: str, method: str) -> dict[str, Any]:
    """Return the published row of a method; Tables A3 and A4 print AFD without its variant."""
    is_afd = method in ("AFD-DCGAN", "AFD-WGAN")
    return row(table, dataset=dataset, method=method) or (row(table, dataset=dataset, method="AFD") if is_afd else {})


def linf_epsilon(dataset: str, records: Iterable[Record]) -> float:
    """Return the L-infinity epsilon of Tables 1, A3 and A5.

    For a data set that the paper does not use, it is the most common epsilon among these trainings.
    """
    if dataset in LINF:
        return LINF[dataset]
    trained_epsilons = [
        record.recipe.attack.epsilon
        for record in records
        if record.recipe and record.dataset == dataset and record.recipe.attack.norm == "linf"
    ]
    if trained_epsilons:
        return Counter(trained_epsilons).most_common(1)[0][0]
    name = f"{dataset}_wgan"
    return recipe.load(name).attack.epsilon if name in packaged() else DEFAULT_LINF


def l2_epsilon(dataset: str) -> float:
    """Return the L2 epsilon of Table 1."""
    return L2.get(dataset, 1.0)


def on_grid(dataset: str, attack: str, epsilon: float) -> bool:
    """Return whether Table A2's grid of an attack contains the epsilon, to within 5 %."""
    settings = table_a2(dataset).get(attack)
    return settings is not None and any(abs(point - epsilon) <= 0.05 * epsilon for point in settings.epsilons)
