"""Tables with a name that decides their further keys: [data], [model], [defense] and [attack]."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar, Final

from pydantic import AfterValidator, ValidationInfo, WithJsonSchema
from pydantic_core import core_schema

from afdctl import names
from afdctl.descriptors import Kind
from afdctl.errors import RecipeError
from afdctl.formatting import did_you_mean, join_words, shorten
from afdctl.recipe.fields import Table
from afdctl.recipe.own_keys import hints_of, model_with
from afdctl.user_code.code import located

# validation context of a run's recipe: its user code is not executed, and its keys were checked when it began
RECORDED: dict[str, bool] = {"recorded": True}


# what afdctl passes to a user's encoder or adversary besides keys of its table
GIVEN: Final = ("channels", "image_size", "generator")
# types of the defaults of arguments that are keys
PLAIN: Final = (bool, int, float, str, list, tuple, dict, type(None))


class NamedTable(Table):
    """A table whose key `key` is a name of the kind `kind`. The model of a name, its `Config`, has all its keys."""

    kind: ClassVar[Kind[Any]]
    key: ClassVar[str]

    @classmethod
    def model_of(cls, values: Mapping[str, Any], recorded: bool = False) -> "type[NamedTable]":
        """Return the model of the name in `values`: this one, or a subclass; any keys where the name is unknown."""
        name = values.get(cls.key)
        if not isinstance(name, str) or not (recorded or names.is_known(cls.kind, name)):
            return with_any_keys(cls) if any(entry.config for entry in cls.kind.values()) else cls
        if name in cls.kind:
            model: type[NamedTable] = names.load_config(cls.kind, name) if cls.kind[name].config else cls
            return model
        return with_any_keys(cls) if recorded else config_of(cls, name)

    def own_values(self, base: "type[NamedTable]") -> dict[str, Any]:
        """Return the values of the keys that `base` does not have."""
        values = {**{key: getattr(self, key) for key in type(self).model_fields}, **(self.model_extra or {})}
        return {key: value for key, value in values.items() if key not in base.model_fields}


_with_any_keys: dict[type[NamedTable], type[NamedTable]] = {}


def with_any_keys(model: type[NamedTable]) -> type[NamedTable]:
    """Return the model with further keys of any value."""
    if model not in _with_any_keys:
        _with_any_keys[model] = type(model.__name__, (model,), {"__module__": __name__}, extra="allow")
    return _with_any_keys[model]


def config_of(table: type[NamedTable], name: str) -> type[NamedTable]:
    """Return the `Config` of a user's class or function; without one, the table and its settings.

    RecipeError for one that is not a subclass of `table`, or that changes the type of one of its keys.
    """
    found = names.load(table.kind, name)
    config = getattr(found, "Config", None) or with_settings_of(table, found, name)
    subject = f"{located(name)}.Config"
    if not (isinstance(config, type) and issubclass(config, table)):
        raise RecipeError(f"{subject}: must be a subclass of {table.__name__}, which has the other keys of its table")
    for key, field in table.model_fields.items():
        if config.model_fields[key].annotation != field.annotation:
            raise RecipeError(f"{subject}.{key}: changes the type of afdctl's key {key}; choose another name")
    return config


def with_settings_of(table: type[NamedTable], found: Any, name: str) -> type[NamedTable]:
    """Return the table with a key for each argument that has a plain default and that afdctl does not pass itself."""
    # a defense or a data set is a class that afdctl calls in its own way
    if table.kind.methods:
        return table
    fields: dict[str, Any] = {}
    try:
        parameters = signature(found).parameters
    except ValueError:
        raise RecipeError(f"{located(name)}: Python does not know its arguments; wrap it in a function") from None
    for key, parameter in parameters.items():
        by_name = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        # others, such as a layer, keep their default
        if by_name and isinstance(parameter.default, PLAIN) and key not in (*table.model_fields, *GIVEN):
            # without an annotation the default decides
            kind = Any if parameter.default is None else type(parameter.default)
            fields[key] = (hints_of(found).get(key, kind), parameter.default)
    if not fields:
        return table
    try:
        return model_with(table, table.__name__, fields)
    except ValueError as error:
        raise RecipeError(f"{located(name)}: {error}") from None


class ByName:
    """Type metadata of a table that is validated by the model of its name."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        self.source = source

        def choose(value: Any, inner: Any, info: core_schema.ValidationInfo) -> Any:
            if not isinstance(value, dict):
                return inner(value)
            model = source.model_of(value, bool(info.context and info.context.get("recorded")))
            return inner(value) if model is source else model.model_validate(value, context=info.context)

        return core_schema.with_info_wrap_validator_function(choose, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        models = [self.source.model_of({self.source.key: name}) for name in self.source.kind]
        # of a user's code, the further keys are not known
        models.append(with_any_keys(self.source) if len(set(models)) > 1 else self.source)
        distinct = list(dict.fromkeys(models))
        return handler(core_schema.union_schema([model.__pydantic_core_schema__ for model in distinct]))


def named(kind: Kind[Any]) -> Any:
    """Return the type metadata of a key whose values are names of a kind."""

    def check(name: str, info: ValidationInfo) -> str:
        # the package of an entry point need not be installed to look at a run
        if not (info.context or {}).get("recorded") and not names.is_known(kind, name):
            family = kind.family_of(name)
            if name.endswith(".py"):
                raise ValueError(f"name a function or class of the file too, such as {shorten(name)}:Name")
            raise ValueError(family.form if family else f"no such name ({did_you_mean(name, kind.suggestions)})")
        return name

    patterns = [":", *(f"^{family.prefix}" for family in kind.families)]
    forms = [{"type": "string", "pattern": pattern} for pattern in patterns]
    schema = {"anyOf": [{"type": "string", "enum": list(kind)}, *forms]}
    return AfterValidator(check), WithJsonSchema(schema)


def check_applicable(value: Any, info: ValidationInfo, table: type[NamedTable]) -> Any:
    """Refuse a key that other names of the table's kind have and this one lacks."""
    # a name that failed its own check is not in the data
    name, key = info.data.get(table.key), str(info.field_name)
    recorded = (info.context or {}).get("recorded")
    if value is None or name is None or (recorded and name not in table.kind):
        return value
    if key not in names.describe(table.kind, name).keys:
        having = [known for known, entry in table.kind.items() if key in entry.keys]
        raise ValueError(f"{shorten(name)} has no such key (only {join_words(having)} can use it)")
    return value
