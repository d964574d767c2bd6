"""The analyses by name: built-in ones by their descriptors, and a user's own."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor

from afdctl import registry
from afdctl.analysis.base import Analysis, AnalysisInputs, AnalysisResult
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, shorten, shorten_list, with_article
from afdctl.recipe.errors import validate
from afdctl.recipe.fields import Table
from afdctl.recipe.own_keys import config_of
from afdctl.recipe.toml_source import Layer
from afdctl.registry import ANALYSES
from afdctl.user_code.function import UserFunction
from afdctl.user_code.global_state import preserved

SHAPE: Final = "an analysis is a function analysis(inputs, ...), or a class with such a __call__"
# what `--json` prints beside the metrics
RESERVED: Final = frozenset({"run", "name", "checkpoint", "subset", "n", "split_n", "seed", "seconds", "warnings"})
NEEDS: Final = ("natural", "grid", "attacks")


class AnalysisConfig(Table):
    """The keys of a user's analysis: a subclass declares them, each with a default."""


def _built_in(name: str, inputs: AnalysisInputs) -> AnalysisResult:
    result: AnalysisResult = registry.load(ANALYSES, name)(inputs)
    return result


def built_in() -> dict[str, Analysis]:
    """Return the built-in analyses by name; their code is imported when they run."""
    return {name: Analysis(entry.needs, partial(_built_in, name), entry.points) for name, entry in ANALYSES.items()}


def load_own(names: list[str], settings: Layer) -> dict[str, Analysis]:
    """Execute the code of a user's analyses, and return them by title with their settings.

    `settings` are those of `--set`; each must be a key of some analysis. Errors: RecipeError, NotFoundError.
    """
    found: dict[str, Analysis] = {}
    keys: set[str] = set()
    for name in names:
        title, analysis, own = _load(name, settings)
        if title in found:
            raise RecipeError(f"--analysis {shorten(name)}: another analysis has the name {title}; give it a label")
        found[title] = analysis
        keys |= own
    for key in settings.values:
        if key not in keys:
            hint = did_you_mean(key, keys) if keys else "none has keys"
            raise RecipeError(f"--set {shorten(key)}: no selected analysis has this key ({hint})")
    return found


def _load(name: str, settings: Layer) -> tuple[str, Analysis, set[str]]:
    try:
        resolved = registry.resolve(ANALYSES, name, Path.cwd())
    except RecipeError as error:
        raise RecipeError(f"--analysis {'' if registry.is_code(name) else f'{shorten(name)}: '}{error}") from None
    code, attribute = registry.user_code(ANALYSES, resolved), resolved.rpartition(":")[2]
    assert code is not None
    found = registry.load(ANALYSES, resolved)
    try:
        function = UserFunction.of(found, attribute, code, 1, SHAPE)
        config = config_of(found, function, AnalysisConfig, given=(), first=1)
        needs = getattr(found, "needs", "natural")
        if needs not in NEEDS:
            raise ValueError(f"needs = {needs!r}: must be {', '.join(map(repr, NEEDS))}")
        title = function.title(found, ANALYSES)
    except ValueError as error:
        raise RecipeError(f"{code.located(attribute)}: {error}") from None
    own = {key: value for key, value in settings.values.items() if key in config.model_fields}
    values = validate(config, own, [settings], table=title).model_dump()
    spec = {"name": function.name, "code": function.digest, **values}
    return title, Analysis(needs, partial(_run, function, values), spec=spec), set(config.model_fields)


def _run(function: UserFunction, settings: Mapping[str, Any], inputs: AnalysisInputs) -> AnalysisResult:
    """Call a user's analysis. Error: RecipeError, with its file and line, unless it returns metrics."""
    with preserved(), function.running():
        returned = function.call(inputs, **settings)
    result = returned if isinstance(returned, AnalysisResult) else AnalysisResult(returned)
    if not isinstance(result.metrics, Mapping):
        kind = with_article(type(result.metrics).__name__)
        raise RecipeError(f"{function.shown} returned {kind}; metrics are a dictionary, arrays go with AnalysisResult")
    if clashing := sorted(RESERVED & set(map(str, result.metrics))):
        raise RecipeError(f"{function.shown} returned the metric {shorten_list(clashing)}, which all have; rename it")
    try:
        metrics = json.loads(json.dumps(dict(result.metrics), default=_as_json))
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"{function.shown} returned a metric that is no number, text, list or table: {error}"
        ) from None
    return AnalysisResult(metrics, {name: np.asarray(array) for name, array in result.arrays.items()})


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    raise TypeError(with_article(type(value).__name__))
