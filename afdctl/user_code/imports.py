"""Import a user's files as they are now; record the modules that they import and the files that they read."""

import ast
import importlib
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar

from afdctl.user_code.global_state import preserved

PACKAGE = Path(__file__).parents[1]
# names of Python's library folders in sysconfig
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


class Imports:
    """The modules that a user's code imports from files that are not installed, with their source texts.

    Two models may import modules of the same name from different folders, so `sys.modules` holds those of one model at
    a time.
    """

    # the imports in sys.modules; they stay there after a forward pass, as a backward pass may need them
    current: ClassVar["Imports | None"] = None

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.texts: dict[str, bytes] = {}
        # files of modules by name, and files below the folder that the code opened for reading, with their stamps
        self.files: dict[str, Path] = {}
        self.reads: dict[Path, tuple[int, int] | None] = {}
        self.modules: dict[str, ModuleType] = {}
        self.displaced: dict[str, ModuleType] = {}
        self.finder = Finder(self.texts, self.files)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Make the code's folder importable and its modules current, stdout stderr. It costs microseconds."""
        if Imports.current is not self:
            self.make_current()
        sys.path.insert(0, self.folder)
        sys.meta_path.insert(0, self.finder)
        outer, _running.imports = getattr(_running, "imports", None), self
        try:
            # stdout carries results only
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _running.imports = outer
            sys.meta_path.remove(self.finder)
            with suppress(ValueError):
                sys.path.remove(self.folder)
            while self.finder.found:
                name = self.finder.found.pop()
                # a module whose import failed is missing
                if name in sys.modules:
                    self.modules[name] = sys.modules[name]

    def parse(self, module: str) -> ast.Module:
        """Parse a module's text; a compiled module has no statements."""
        is_compiled = self.files[module].suffix in EXTENSION_SUFFIXES
        return ast.parse(b"" if is_compiled else self.texts.get(module, b""))

    def make_current(self) -> None:
        """Replace the modules of another model in sys.modules."""
        if Imports.current:
            Imports.current.leave()
        sys.modules.update(self.modules)
        Imports.current = self

    def leave(self) -> None:
        """Remove the modules from sys.modules, and restore those that were there before."""
        for name, module in self.modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        self.restore()

    def restore(self) -> None:
        """Restore modules that this code did not import itself, as other code may need them."""
        for name, module in self.displaced.items():
            sys.modules.setdefault(name, module)


@contextmanager
def executing(folder: Path) -> Iterator[Imports]:
    """Let code import from `folder` inside the block, and yield a record of its imports.

    Only files that are not part of an installed package are recorded. They are executed again even where an earlier
    model imported them. Prints go to stderr, random numbers are the same each time, and global state is restored.
    """
    watch_reads()
    imports = Imports(folder)
    imports.make_current()
    imports.displaced = {name: module for name, module in list(sys.modules.items()) if _is_in(folder, name, module)}
    for name in imports.displaced:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        with preserved(), imports.in_place():
            yield imports
    finally:
        imports.restore()


class Finder(MetaPathFinder):
    """Finds modules with the other finders, and records the content of each file that is not installed.

    `found` receives the names of the modules that are not installed, including those without a file.
    """

    def __init__(self, texts: dict[str, bytes], files: dict[str, Path]) -> None:
        self.texts, self.files = texts, files
        self.found: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module comes from, for the import system."""
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or all(map(installed, _paths(spec))):
            return spec
        self.found.add(fullname)
        # a folder without __init__.py
        if spec.origin is None:
            return spec
        self.files[fullname] = Path(spec.origin)
        # not isinstance, because a loader that changes the code, such as pytest's, must stay
        if type(spec.loader) is SourceFileLoader:
            spec.loader = RecordingLoader(fullname, spec.origin, self.texts)
        else:
            self.texts[fullname] = Path(spec.origin).read_bytes()
        return spec


class RecordingLoader(SourceFileLoader):
    """Compiles a file as it is now and records its text; a .pyc of the same second and size may be outdated."""

    def __init__(self, fullname: str, path: str, texts: dict[str, bytes]) -> None:
        super().__init__(fullname, path)
        self.texts = texts

    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code."""
        text = self.get_data(self.path)
        self.texts[fullname] = text
        code: CodeType = self.source_to_code(text, self.path)
        return code


def record_late_imports(imports: Imports) -> None:
    """Record the modules of the code's folder that it imports in its functions, which have not run yet.

    They are part of the digest and of a run's copy from the beginning. Names that are made while it runs are not seen.
    """
    unread = list(imports.files)
    while unread:
        importer = unread.pop()
        package = importer if imports.files[importer].stem == "__init__" else importer.rpartition(".")[0]
        for module in _imported(imports.parse(importer), package):
            stem = Path(imports.folder, *module.split("."))
            for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
                if module not in imports.files and file.is_file() and not installed(file):
                    imports.files[module], imports.texts[module] = file, file.read_bytes()
                    unread.append(module)


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the dotted names that a module of a package may import, with the packages that they are in."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            # what is imported may be a module of the package
            names = [".".join(filter(None, [base, alias.name])) for alias in node.names]
        for parts in (name.split(".") for name in names):
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def watch_reads() -> None:
    """Record from now on which files user code opens for reading; C libraries such as HDF5 do not report theirs."""
    global _watching
    if not _watching:
        _watching = True
        # cannot be removed, so there is one for the whole process
        sys.addaudithook(_on_event)


_watching = False
# whose code runs in a thread at this moment: the journal's thread reads its lock meanwhile, often below the same folder
_running = threading.local()


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    imports: Imports | None = getattr(_running, "imports", None)
    if event != "open" or imports is None or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path, _, flags = arguments
    # flags of a write; pyc files belong to the sources that are recorded
    if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
        return
    file = Path(os.path.abspath(os.fsdecode(path)))
    if file.suffix not in (".py", ".pyc") and file.is_relative_to(imports.folder) and not installed(file):
        imports.reads[file] = stamp(file)


def stamp(file: Path) -> tuple[int, int] | None:
    """Return time and size of a file, which change with its content; None if there is no such file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def installed(path: Path) -> bool:
    """Return whether a file belongs to Python, an installed package or this one, whose versions are in run.json."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    folders = [*map(sysconfig.get_paths().__getitem__, LIBRARIES), str(PACKAGE)]
    return any(path.is_relative_to(folder) for folder in folders)


def _paths(spec: ModuleSpec) -> list[Path]:
    """Return the file of a module, or the folders of a package without one; none for a built-in module."""
    if spec.has_location and spec.origin is not None:
        return [Path(spec.origin)]
    return [Path(folder) for folder in spec.submodule_search_locations or []]


def _is_in(folder: Path, name: str, module: ModuleType | None) -> bool:
    """Return whether a loaded module's file is in `folder` and not installed."""
    # not getattr, because some modules import others when an attribute is read
    file = getattr(module, "__dict__", {}).get("__file__")
    if not isinstance(file, str) or name == "__main__":
        return False
    return Path(file).is_relative_to(folder) and not installed(Path(file))
