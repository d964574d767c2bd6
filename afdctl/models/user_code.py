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

import torch

from afdctl.errors import AfdctlError, RecipeError, out_of_memory

OWN = Path(__file__).parents[1]
"""The folder of this package."""
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


@contextmanager
def executing(folder: Path, texts: dict[str, bytes]) -> Iterator[None]:
    """Let the code import what lies in `folder`; `texts` receives the name and content of each imported file.

    Only files that are not part of an installed package are recorded. They are executed anew, also where an earlier
    model imported them. Prints go to stderr, and the same random numbers are drawn each time.
    """
    finder, beside = Finder(texts), str(folder)
    earlier = {name: module for name, module in list(sys.modules.items()) if _outdated(name, module, folder)}
    for name in earlier:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, beside)
    sys.meta_path.insert(0, finder)
    try:
        with redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            yield
    finally:
        sys.meta_path.remove(finder)
        with suppress(ValueError):
            sys.path.remove(beside)
        # others may still need the modules that this code did not import
        for name, module in earlier.items():
            sys.modules.setdefault(name, module)


@contextmanager
def blamed(describe: Callable[[BaseException], str]) -> Iterator[None]:
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
    """Finds what the other finders find, and records the content of each file that is not installed."""

    def __init__(self, texts: dict[str, bytes]) -> None:
        self.texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import system's question: where a module comes from."""
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        found = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if found is None or not found.has_location or found.origin is None or installed(Path(found.origin)):
            return found
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


def _outdated(name: str, module: ModuleType | None, folder: Path) -> bool:
    """Whether a loaded module comes from an earlier model, or lies in the folder of the one to load."""
    # not getattr: some modules import others when they are asked for an attribute
    known = getattr(module, "__dict__", {})
    if isinstance(known.get("__loader__"), Present):
        return True
    file = known.get("__file__")
    if not isinstance(file, str) or name == "__main__":
        return False
    return Path(file).is_relative_to(folder) and not installed(Path(file))
