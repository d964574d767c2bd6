"""From a name of a recipe, suite or command to its code.

A name is built in (a table of `registry.py`), an installed entry point, or a user's code: `path/to/file.py:Name` or
`package.module:Name`. For a command, an option or a key that takes a name of a kind:

    name = resolve(DEFENSES, text, folder)   # absolute and unique; RecipeError for an unknown name; executes nothing
    load(DEFENSES, name)                     # the class or function; executes a user's file, after announcing it
    describe(DEFENSES, name)                 # its descriptor: label, losses, ...; a user's code has them as attributes
    user_code(DEFENSES, name)                # a `UserCode`, or None of a built-in name: `digest()` and `files()` for
                                             # keys and provenance, `running()` around every call, for its errors
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from afdctl.descriptors import D, Descriptor, Kind
from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import did_you_mean, shorten, with_article
from afdctl.user_code import code
from afdctl.user_code.code import UserCode
from afdctl.user_code.spec import Spec


def is_code(name: str) -> bool:
    """Return whether a name is a place in a user's code, not a word."""
    return ":" in name


def resolve(kind: Kind[D], name: str, folder: Path) -> str:
    """Return the name with an absolute path, where `folder` is that of the file with the name; execute nothing.

    Built-in names and entry points are returned as they are. Errors: RecipeError for an unknown name, whose message
    begins with the reason, and for a place without a name in it.
    """
    if name in kind or find_entry_point(kind, name):
        return name
    if family := kind.family_of(name):
        raise RecipeError(family.form)
    if is_code(name):
        return str(Spec.parse(name, folder))
    hint = did_you_mean(name, kind.suggestions)
    raise RecipeError(f"no such {kind.noun} ({hint}); code of your own is path/to/file.py:Name")


def find_entry_point(kind: Kind[D], name: str) -> EntryPoint | None:
    """Return the installed entry point of a name, the first one where several packages have it."""
    return next(iter(entry_points(group=kind.group, name=name)), None)


def load(kind: Mapping[str, Any], name: str) -> Any:
    """Import and return the class or function of a name that `resolve` returned.

    Errors of a user's code: RecipeError with its file and line, NotFoundError for a missing file or package.
    """
    if name in kind:
        entry = kind[name]
        found = _import(entry.place if isinstance(entry, Descriptor) else entry)
        arguments = entry.arguments if isinstance(entry, Descriptor) else {}
        return partial(found, **arguments) if arguments else found
    assert isinstance(kind, Kind)
    spec = _spec_of(kind, name)
    found = code.load(spec).find(spec.name)
    check_interface(kind, name, found)
    return found


def load_config(kind: Kind[D], name: str) -> Any:
    """Import and return the model of the keys of a built-in name."""
    return _import(kind[name].config)


def check_interface(kind: Kind[D], name: str, found: Any) -> None:
    """Raise RecipeError for a user's object that lacks what its kind needs."""
    if kind.methods and not isinstance(found, type):
        raise RecipeError(f"{code.located(name)}: is not a class, which a {kind.noun} must be")
    if not callable(found):
        raise RecipeError(f"{code.located(name)}: is {with_article(type(found).__name__)}, not a function or a class")
    for method in kind.methods:
        own = getattr(found, method, None)
        if not callable(own) or getattr(own, "__isabstractmethod__", False):
            raise RecipeError(f"{code.located(name)}: has no method `{method}`, which a {kind.noun} must have")


def is_known(kind: Kind[D], name: str) -> bool:
    """Return whether a name is built in, a place in a user's code, or an installed entry point."""
    if kind.family_of(name):
        return name in kind
    return name in kind or is_code(name) or find_entry_point(kind, name) is not None


def is_loaded(kind: Kind[D], name: str) -> bool:
    """Return whether the code of a user's name has been executed."""
    return code.is_loaded(_spec_of(kind, name))


def user_code(kind: Kind[D], name: str) -> UserCode | None:
    """Load a name's code; None for a built-in name."""
    return None if name in kind else code.load(_spec_of(kind, name))


def describe(kind: Kind[D], name: str, recorded: Mapping[str, Any] | None = None) -> D:
    """Return the descriptor of a name: built-in, as a run recorded it, or from the attributes of a user's code."""
    if name in kind:
        return kind[name]
    if recorded is None:
        recorded = attributes(kind, name)
    values = {key: _value(recorded[key]) for key, type_ in _types(kind).items() if _fits(recorded.get(key), type_)}
    return kind.base(**{"label": name.rpartition(":")[2], **values, "place": name})


def attributes(kind: Kind[D], name: str) -> dict[str, Any]:
    """Return the descriptor's fields that a user's code has as attributes; RecipeError for one of a wrong type."""
    found, values = load(kind, name), {"label": name.rpartition(":")[2]}
    for key, type_ in _types(kind).items():
        value = getattr(found, key, None)
        # such as a method of this name
        if value is None or callable(value):
            continue
        if not _fits(value, type_):
            raise RecipeError(f"{code.located(name)}.{key}: must be {TYPES[type_]}, not {shorten(repr(value))}")
        values[key] = _value(value)
    return values


# the types of the fields of descriptors, in words
TYPES: Final = {str: "text", bool: "True or False", int: "a whole number", tuple: "a tuple of names", dict: "a dict"}


def _types(kind: Kind[D]) -> dict[str, type]:
    """Return the types of the fields that a user's code may have as attributes."""
    fields = [field for field in dataclasses.fields(kind.base) if field.name not in ("place", "config", "arguments")]
    return {field.name: dict if field.default is dataclasses.MISSING else type(field.default) for field in fields}


def _fits(value: Any, type_: type) -> bool:
    value = _value(value)
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return False
    return isinstance(value, type_)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _import(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)


def _spec_of(kind: Kind[D], name: str) -> Spec:
    if is_code(name):
        return Spec.parse(name, Path.cwd())
    if entry := find_entry_point(kind, name):
        return Spec(entry.module, entry.attr, str(entry.dist.locate_file("")) if entry.dist else "")
    raise NotFoundError(
        f"{kind.noun} '{shorten(name)}': no such name; it was the entry point of a package that is not installed"
    )
