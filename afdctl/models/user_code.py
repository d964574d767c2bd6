"""Runs a user's code: its imports are read from their present files and recorded, its errors become one line."""

import importlib
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import ClassVar

import torch

from afdctl.errors import AfdctlError, RecipeError, out_of_memory

OWN = Path(__file__).parents[1]
"""The folder of this package."""
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


class Imports:
    """What a user's code imports from files that are not installed: their texts and modules, by module.

    Two models may have neighbours of the same name: `sys.modules` holds those of one model at a time.
    """

    current: ClassVar["Imports | None"] = None
    """Whose modules are in place: they stay there after a pass, as a backward pass may need them."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.texts: dict[str, bytes] = {}
        self.modules: dict[str, ModuleType] = {}
        self.displaced: dict[str, ModuleType] = {}
        self.finder = Finder(self.texts)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the code import what lies in its folder, and find its own modules. It costs microseconds."""
        if Imports.current is not self:
            self.take_place()
        sys.path.insert(0, self.folder)
        sys.meta_path.insert(0, self.finder)
        try:
            yield
        finally:
            sys.meta_path.remove(self.finder)
            with suppress(ValueError):
                sys.path.remove(self.folder)
            while self.finder.found:
                name = self.finder.found.pop()
                # one whose import failed is not there
                if name in sys.modules:
                    self.modules[name] = sys.modules[name]

    def take_place(self) -> None:
        """Put the modules where those of another model are."""
        if Imports.current:
            Imports.current.leave()
        sys.modules.update(self.modules)
        Imports.current = self

    def leave(self) -> None:
        """Take the modules out, and put back those that were there before."""
        for name, module in self.modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        self.put_back()

    def put_back(self) -> None:
        """Others may still need the modules that this code has not imported anew."""
        for name, module in self.displaced.items():
            sys.modules.setdefault(name, module)


@contextmanager
def executing(folder: Path) -> Iterator[Imports]:
    """Let the code import what lies in `folder`, and yield what it imports.

    Only files that are not part of an installed package are recorded. They are executed anew, also where an earlier
    model imported them. Prints go to stderr, and the same random numbers are drawn each time.
    """
    imports = Imports(folder)
    imports.take_place()
    imports.displaced = {name: module for name, module in list(sys.modules.items()) if _lies_in(folder, name, module)}
    for name in imports.displaced:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        with imports.in_place(), redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            yield imports
    finally:
        imports.put_back()


@contextmanager
def blame_user_code(describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Turn what a user's code raises into a RecipeError, `describe` its message; Ctrl-C and full memory pass."""
    try:
        yield
    except (AfdctlError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if out_of_memory(error):
            raise
        raise RecipeError(describe(error)) from error


class Finder(MetaPathFinder):
    """Finds what the other finders find, and records the content of each file that is not installed.

    `found` receives the names of the modules that are not installed, those without a file too.
    """

    def __init__(self, texts: dict[str, bytes]) -> None:
        self.texts = texts
        self.found: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import system's question: where a module comes from."""
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        found = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if found is None or all(map(installed, _places(found))):
            return found
        self.found.add(fullname)
        if found.origin is None:
            return found  # a folder without __init__.py
        # not isinstance: a loader that changes the code, such as pytest's, is left alone
        if type(found.loader) is SourceFileLoader:
            found.loader = Present(fullname, found.origin, self.texts)
        else:
            self.texts[fullname] = Path(found.origin).read_bytes()
        return found


class Present(SourceFileLoader):
    """Compiles a file as it is now, and records it: a .pyc of the same second and size may be of an older text."""

    def __init__(self, fullname: str, path: str, texts: dict[str, bytes]) -> None:
        super().__init__(fullname, path)
        self.texts = texts

    def get_code(self, fullname: str) -> CodeType:
        """The code of the module."""
        text = self.get_data(self.path)
        self.texts[fullname] = text
        code: CodeType = self.source_to_code(text, self.path)
        return code


def installed(path: Path) -> bool:
    """Whether a file belongs to Python, to an installed package or to this one: their versions are in run.json."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    folders = [*map(sysconfig.get_paths().__getitem__, LIBRARIES), str(OWN)]
    return any(path.is_relative_to(folder) for folder in folders)


def _places(found: ModuleSpec) -> list[Path]:
    """The file of a module, or the folders of a package without one; a built-in module has none."""
    if found.has_location and found.origin is not None:
        return [Path(found.origin)]
    return [Path(folder) for folder in found.submodule_search_locations or []]


def _lies_in(folder: Path, name: str, module: ModuleType | None) -> bool:
    """Whether a loaded module lies in the folder of the model to load, and is not installed."""
    # not getattr: some modules import others when they are asked for an attribute
    file = getattr(module, "__dict__", {}).get("__file__")
    if not isinstance(file, str) or name == "__main__":
        return False
    return Path(file).is_relative_to(folder) and not installed(Path(file))
