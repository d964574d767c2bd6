"""The tables of a suite's file: built-in attacks, and a user's own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Field, create_model, field_validator

from afdctl import registry
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.recipe.fields import Table
from afdctl.recipe.toml_source import Layer
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.library_attack import config_of_library
from afdctl.suites.schema import ATTACKS
from afdctl.suites.user_attack import config_of_code
from afdctl.user_code.attack_libraries import is_library_attack


class SuiteFile(Table):
    """The tables of a suite's file; `suite_file` gives `attack` its type."""

    title: str = Field("", description="name and one-line description")
    attack: tuple[AttackConfig, ...] = ()

    @field_validator("attack", mode="before")
    @classmethod
    def _is_an_array_of_tables(cls, tables: Any) -> Any:
        if not tables or not isinstance(tables, list):
            raise ValueError("has no [[attack]] table (two brackets); add one for each attack")
        return tables


def suite_file(own: Iterable[type[AttackConfig]]) -> type[SuiteFile]:
    """Return the model of a file with the built-in attacks and a user's `own`, which `name` tells apart."""
    union: Any = Union[tuple(dict.fromkeys([*ATTACKS.values(), *own]))]  # noqa: UP007
    attacks = tuple[Annotated[union, Field(discriminator="name")], ...]
    field = Field((), strict=False, validate_default=True)
    model: type[SuiteFile] = create_model("SuiteFile", __base__=SuiteFile, attack=(attacks, field))
    return model


def own_attacks(source: Layer, folder: Path) -> list[type[AttackConfig]]:
    """Load the attacks of libraries and the user's that a file in `folder` names; the latter become absolute names."""
    configs = {}
    tables = source.values.get("attack")
    for index, table in enumerate(tables if isinstance(tables, list) else []):
        name = table.get("name") if isinstance(table, dict) else None
        if isinstance(name, str) and is_library_attack(name):
            try:
                configs[name] = config_of_library(name)
            except AfdctlError as error:
                raise type(error)(f"{source.where['attack', index, 'name']}{error}") from None
        elif isinstance(name, str) and _is_users(name):
            try:
                table["name"] = resolved = registry.resolve(registry.ATTACKS, name, folder)
                configs[resolved] = config_of_code(resolved)
            except (RecipeError, NotFoundError) as error:
                raise type(error)(f"{source.where['attack', index, 'name']}attack.name: {error}") from error
    return list(configs.values())


def _is_users(name: str) -> bool:
    """Return whether a name is an attack of the user's; validation reports a word that is no name."""
    # built-in names first: a search among the installed packages takes 16 ms
    return name not in ATTACKS and (
        registry.is_code(name) or registry.find_entry_point(registry.ATTACKS, name) is not None
    )
