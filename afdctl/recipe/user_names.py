"""The user's code that a recipe names: find it from the recipe's file, execute it, record what it is."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from afdctl import names
from afdctl.descriptors import Kind
from afdctl.errors import AfdctlError, RecipeError
from afdctl.formatting import shorten
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import DefenseConfig
from afdctl.recipe.model import Model
from afdctl.recipe.named_table import NamedTable
from afdctl.recipe.toml_source import Layer
from afdctl.user_code.spec import shown

# the tables with a name that may be that of a user's code
NAMED_TABLES: Final[Mapping[str, type[NamedTable]]] = {
    "data": Data,
    "model": Model,
    "defense": DefenseConfig,
    "attack": AdversaryConfig,
}


def with_absolute_names(layer: Layer, folder: Path) -> Layer:
    """Return the layer with absolute paths of user code, where `folder` is that of its file; nothing is executed."""
    values = dict(layer.values)
    for table, key, kind, name in _names(layer.values):
        if name in kind or kind.family_of(name) or not names.is_code(name):
            continue
        with _located(layer, table, key, name):
            values[table] = {**values[table], key: names.resolve(kind, name, folder)}
    return Layer(values, layer.where)


def execute(layers: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """Execute the code of the names that count, those of the last layer with each; return what to record of it."""
    recorded: dict[str, dict[str, Any]] = {}
    chosen = {(table, key): (layer, kind, name) for layer in layers for table, key, kind, name in _names(layer.values)}
    for (table, key), (layer, kind, name) in chosen.items():
        if name in kind or not names.is_known(kind, name):
            continue
        with _located(layer, table, key, name):
            recorded[table] = describe_code(table, name)
    return recorded


def describe_code(table: str, name: str) -> dict[str, Any]:
    """Execute a user's code and return its attributes, the files that it consists of, and their digest."""
    kind = NAMED_TABLES[table].kind
    own = names.attributes(kind, name)
    code = names.user_code(kind, name)
    assert code is not None
    return {**own, "digest": code.digest(), "files": code.files()}


def _names(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Kind[Any], str]]:
    """Yield table, key, kind and value of each name in a recipe's values."""
    for table, model in NAMED_TABLES.items():
        own = values.get(table)
        name = own.get(model.key) if isinstance(own, Mapping) else None
        if isinstance(name, str):
            yield table, model.key, model.kind, name


class _located:
    """Prefix errors with the place, the key and the value of a name; the kind of the error stays."""

    def __init__(self, layer: Layer, table: str, key: str, name: str) -> None:
        self.prefix = f'{layer.where.get((table, key), "")}{table}.{key} = "{shorten(shown(name))}": '

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AfdctlError):
            raise (type(error) if type(error).__init__ is AfdctlError.__init__ else RecipeError)(
                f"{self.prefix}{error}"
            ) from error
