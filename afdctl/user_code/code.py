"""The code behind a name: what it executed and read, its digest, and its errors with the user's file and line."""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, Final

from afdctl import paths, user_code
from afdctl.errors import AfdctlError, NotFoundError, RecipeError, UserCodeError, out_of_memory
from afdctl.formatting import did_you_mean, one_line_error
from afdctl.user_code.imports import Imports, executing, record_late_imports, stamp
from afdctl.user_code.spec import Spec, shown

# largest Python file that is read
CODE_BYTES: Final = 1 << 24


class UserCode:
    """The module of a file or of a dotted name, executed once, with all that it imported and read beside it."""

    def __init__(self, place: str, module: ModuleType, imports: Imports) -> None:
        self.place, self.module, self.imports = place, module, imports

    def find(self, name: str) -> Any:
        """Return the object of a name in the module; RecipeError with the nearest name if there is none."""
        found = getattr(self.module, name, None)
        if found is None:
            names = [key for key, value in vars(self.module).items() if callable(value) and key[0] != "_"]
            hint = did_you_mean(name, names, "it must be a function or a class")
            raise RecipeError(f"{shown(self.place)}: has no '{name}' ({hint})")
        return found

    @contextmanager
    def running(self, doing: str = "") -> Iterator[None]:
        """Let the code import and read beside it; an exception becomes a UserCodeError with file and line."""
        with self.imports.in_place(), self.blame(doing):
            yield

    @contextmanager
    def blame(self, doing: str = "") -> Iterator[None]:
        """Turn the code's exceptions into a UserCodeError: `my.py:12: doing: ValueError: ...`."""
        prefix = f"{doing}: " if doing else ""
        with blame_user_code(lambda error: f"{self.where(error)}: {prefix}{one_line_error(error)}"):
            yield

    def where(self, error: BaseException) -> str:
        """Return `file:line` of the last line of this code in an exception's traceback."""
        own = {str(path) for path in self.imports.files.values()}
        return where(error, own, self.place)

    def located(self, name: str, method: str = "") -> str:
        """Return how messages call an object of the code: `my.py:12: Name`, or `my.py:15: Name.step()` for a method."""
        main = MAIN if MAIN in self.imports.texts else self.place.rpartition("/")[2]
        place, scope = shown(str(self.imports.files.get(main, self.place))), list[ast.stmt]()
        if main in self.imports.files:
            scope = self.imports.parse(main).body
        for wanted in filter(None, (name, method)):
            for node in scope:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == wanted:
                    scope, place = node.body, f"{place.partition(':')[0]}:{node.lineno}"
        return f"{place}: {name}.{method}()" if method else f"{place}: {name}"

    def paths(self) -> dict[str, Path]:
        """Map what was executed and read so far to its files, by its path below the code's folder."""
        folder = self.imports.folder
        read = {file.relative_to(folder).as_posix(): file for file in self.imports.reads if file.is_file()}
        return {self.path_of(name): file for name, file in self.imports.files.items()} | read

    def path_of_main(self) -> str:
        """Return the path of a file's code below its folder: its name."""
        return self.path_of(MAIN)

    def path_of(self, module: str) -> str:
        """Return the path of a module's file below the code's folder."""
        file = self.imports.files[module]
        if file.is_relative_to(self.imports.folder):
            return file.relative_to(self.imports.folder).as_posix()
        return f"{module.replace('.', '/')}{'/__init__' if file.stem == '__init__' else ''}{file.suffix}"

    def files(self) -> dict[str, str]:
        """Map what was executed and read so far to the SHA-256 of its content."""
        # of modules the text that was executed, of other files the content as it is now
        texts = {self.path_of(name): text for name, text in self.imports.texts.items()}
        paths = sorted(self.paths().items())
        return {path: sha256(texts.get(path) or file.read_bytes()).hexdigest() for path, file in paths}

    def digest(self) -> str:
        """Return SHA-256 in hex of what was executed and read so far.

        The main file counts by its content only, so that a file that was moved or renamed is the same code.
        """
        files = self.files()
        if MAIN in self.imports.files:
            files[""] = files.pop(self.path_of(MAIN))
        return sha256(repr(sorted(files.items())).encode()).hexdigest()

    def is_current(self) -> bool:
        """Return whether every executed file still has the text that was executed, and what was read is untouched."""
        texts, reads = self.imports.texts, self.imports.reads
        executed = (path.is_file() and path.read_bytes() == texts[name] for name, path in self.imports.files.items())
        return all(executed) and all(stamp(file) == known for file, known in reads.items())


# the key of the main file in the records of `Imports`
MAIN: Final = "__file__"
# by place and the folder that it is imported from
_loaded: dict[tuple[str, Path], UserCode] = {}


def is_loaded(spec: Spec) -> bool:
    """Return whether the code of a spec has been executed."""
    return (spec.place, spec.folder) in _loaded


def load(spec: Spec) -> UserCode:
    """Execute the file or import the module of a spec, after the `announcers`.

    Code that is loaded already is returned as it is unless one of its files has changed. Errors: NotFoundError for a
    missing file or module, RecipeError for code that fails, with its file and line.
    """
    known = _loaded.get((spec.place, spec.folder))
    if known and known.is_current():
        return known
    if spec.file:
        read_code(spec.file)
    for announce in user_code.announcers:
        announce(shown(spec.place))
    with executing(spec.folder) as imports:
        module = run_file(spec.file, imports) if spec.file else import_named(spec.module, imports)
    record_late_imports(imports)
    _loaded[spec.place, spec.folder] = UserCode(spec.place, module, imports)
    return _loaded[spec.place, spec.folder]


def located(name: str, method: str = "") -> str:
    """Return how messages call the object of a name, with file and line where its code is loaded; see `UserCode`."""
    place, _, attribute = name.rpartition(":")
    code = next((code for (loaded, _), code in _loaded.items() if loaded == place), None)
    return code.located(attribute, method) if code else shown(name)


@contextmanager
def blame_user_code(describe: Callable[[BaseException], str]) -> Iterator[None]:
    """Turn exceptions of user code into a UserCodeError with the message `describe`; Ctrl-C and lack of memory pass."""
    try:
        yield
    except (AfdctlError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if out_of_memory(error):
            raise
        raise UserCodeError(describe(error)) from error


def culprit(error: BaseException) -> str:
    """Return `my.py:12: ValueError: ...` of an exception that passed through loaded user code; empty for others.

    Errors of afdctl's own are explained already.
    """
    if isinstance(error, AfdctlError):
        return ""
    files = {str(path) for known in _loaded.values() for path in known.imports.files.values()}
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in files]
    return f"{shown(frames[-1].filename)}:{frames[-1].lineno}: {one_line_error(error)}" if frames else ""


def run_file(path: Path, imports: Imports) -> ModuleType:
    """Execute the file from the text that the digest covers; an import could use an outdated .pyc."""
    text = read_code(path)
    imports.texts[MAIN], imports.files[MAIN] = text, path
    module = ModuleType(f"afdctl_user_{path.stem}")
    module.__file__ = str(path)
    # dataclasses and pickle look up the module of a class there
    imports.modules[module.__name__] = sys.modules[module.__name__] = module
    with UserCode(str(path), module, imports).blame():
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def import_named(name: str, imports: Imports) -> ModuleType:
    """Import a module by its dotted name, and record those modules of its package that are installed."""
    try:
        with UserCode(name, ModuleType(name), imports).blame():
            module = import_module(name)
    except RecipeError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise NotFoundError(f"{name}: no such module; a file's name ends in .py") from error
        raise
    # the finder does not record installed modules
    package = name.partition(".")[0]
    for known, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if known.partition(".")[0] == package and known not in imports.texts and file:
            imports.texts[known], imports.files[known] = Path(file).read_bytes(), Path(file)
    return module


def read_code(path: Path) -> bytes:
    """Read a Python file; NotFoundError if it is missing or unreadable."""
    try:
        return paths.read(path, CODE_BYTES)
    except FileNotFoundError:
        raise NotFoundError(f"{shown(str(path))}: no such file") from None
    except OSError as error:
        raise NotFoundError(f"{shown(str(path))}: cannot be read ({error.strerror})") from None


def where(error: BaseException, files: set[str], place: str) -> str:
    """Return `file:line` of the last line of `files` in an exception's traceback; `place` if there is none."""
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"{shown(error.filename)}:{error.lineno}"
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in files]
    return f"{shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else shown(place)
