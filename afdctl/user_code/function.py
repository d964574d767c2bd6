"""A user's attack or analysis as something to call: what it accepts, its digest, and its errors."""

import inspect
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from afdctl.formatting import with_article
from afdctl.user_code.code import UserCode


# compared by identity: two loads of a file may have other texts
@dataclass(frozen=True, eq=False)
class UserFunction:
    """What a name in a user's code stands for: a function, or an object of a class with a `__call__`.

    `name` is file and name, such as `my.py:attack`. `code` is None for a function of the caller's own program.
    """

    call: Callable[..., Any]
    name: str
    code: UserCode | None = None

    @classmethod
    def of(cls, found: Any, attribute: str, code: UserCode | None, first: int, shape: str) -> "UserFunction":
        """Make an object of a class, and check that it takes `first` arguments; ValueError with the `shape` if not."""
        function, call = cls(found, f"{Path(code.place).name}:{attribute}" if code else attribute, code), found
        if inspect.isclass(found):
            with function.running():
                call = found()
        if not callable(call):
            kind = with_article((found if inspect.isclass(found) else type(found)).__name__)
            raise ValueError(f"is {kind}, which cannot be called; {shape}")
        function = replace(function, call=call)
        if len(function.leading) < first:
            raise ValueError(f"takes {len(function.leading)} arguments by position; {shape}")
        return function

    @property
    def shown(self) -> str:
        """How messages call it: `my.py:12: attack()`."""
        attribute = self.name.rpartition(":")[2]
        return f"{self.code.located(attribute) if self.code else attribute}()"

    def title(self, found: Any, taken: Container[str]) -> str:
        """Return its name in tables: the `label` of `found`, or file and name, such as `my.attack`.

        ValueError for a label that is `taken`, or that a file or a group of HDF5 cannot have in its name.
        """
        label = getattr(found, "label", None)
        if label is None:
            return re.sub(r"[^\w.+-]", "-", self.name.replace(".py:", ".").replace(":", ".").lstrip("_.-+"))
        if not (isinstance(label, str) and re.fullmatch(r"[A-Za-z0-9][\w.+-]*", label)):
            raise ValueError(f"its label {label!r} must be letters, digits and _ . + -")
        if label in taken:
            raise ValueError(f"its label '{label}' is a built-in name; choose another one")
        return label

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.call).parameters)

    @property
    def leading(self) -> list[str]:
        """The parameters that take arguments by position."""
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [name for name, parameter in self.parameters.items() if parameter.kind in by_position]

    def accepts(self, name: str) -> bool:
        """Return whether it has a parameter of this name, or takes any."""
        return name in self.parameters or any(one.kind is one.VAR_KEYWORD for one in self.parameters.values())

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the code as it was when this was first asked for, which is after a trial."""
        return self.code.digest() if self.code else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Turn its exceptions into one line with file and line; those of the caller's own program are its own."""
        if self.code is None:
            yield
            return
        with self.code.running():
            yield
