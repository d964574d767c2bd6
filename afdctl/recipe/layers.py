"""The layers that a recipe is made of: the files of its `extends` chain, the presets they name, the overrides."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from afdctl import files
from afdctl.errors import RecipeError
from afdctl.recipe.fidelity import preset
from afdctl.recipe.find import find_base, shown
from afdctl.recipe.locate import paths
from afdctl.recipe.merge import merge, merge_all
from afdctl.recipe.parse import Layer, extreme, read, toml_value

CHAIN: Final = 16
"""Files that extend each other, at most; packaged ones are up to 4."""


def chain(path: Path, descendants: tuple[Path, ...] = ()) -> list[Layer]:
    """The layers of a file and of all that it extends, the root first."""
    layer = read(path)
    if "extends" not in layer.values:
        return [layer]
    extends, where = layer.values.pop("extends"), layer.where["extends",]
    if not isinstance(extends, str):
        raise RecipeError(
            f"{where}extends = {files.shortened(str(extends))}: must be text in quotes, a path or a packaged name"
        )
    if reason := files.fault(f"{extends}.toml"):
        raise RecipeError(f'{where}extends = "{files.shortened(extends)}": {reason}')
    base, family = find_base(extends, path), (*descendants, path)
    if base is None:
        raise RecipeError(
            f'{where}extends = "{files.shortened(extends)}": no such file beside this one, and no packaged recipe'
        )
    if any(base.samefile(member) for member in family):
        circle = " -> ".join(str(shown(member)) for member in (*family, base))
        raise RecipeError(f'{where}extends = "{files.shortened(extends)}": goes in a circle: {circle}')
    if len(family) > CHAIN:
        raise RecipeError(f'{where}extends = "{files.shortened(extends)}": a chain of more than {CHAIN} files')
    return [*chain(base, family), layer]


def override(assignments: Sequence[str]) -> Layer:
    """The layer of `--set key.sub=value`; a value that is not TOML is taken as text."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"--set {files.shortened(assignment)}: write --set key.sub=value")
        value = toml_value(text.strip())
        for part in reversed(key.split(".")):
            value = {part.strip(): value}
        if reason := extreme(value):
            raise RecipeError(f"--set {reason}")
        values = merge(values, value)
    return Layer(values, dict.fromkeys(paths(values), "--set "))


def with_presets(layers: list[Layer]) -> Iterator[Layer]:
    """Each layer after the preset of the fidelity that it names; `sound` before all of them."""
    resolved = merge_all(layer.values for layer in layers)
    yield Layer(preset("sound", resolved), {})
    for layer in layers:
        if "fidelity" in layer.values:
            values = preset(layer.values["fidelity"], resolved)
            yield Layer(values, dict.fromkeys(paths(values), layer.where["fidelity",]))
        yield layer
