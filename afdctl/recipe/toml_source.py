"""Which file a recipe's name or path means."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli

import afdctl
from afdctl import paths
from afdctl.errors import RecipeError
from afdctl.registry import nearest

PACKAGE: Final = Path(afdctl.__file__).parent


def folder() -> Path:
    """Where the packaged recipes lie: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def packaged() -> dict[str, Path]:
    """Name -> file of every packaged recipe; the files in `bases/` are only there to be extended."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}


def find(path_or_name: str) -> Path:
    """The file that a user means: a path, `mnist_wgan`, or `recipes/mnist_wgan.toml` of the package."""
    path = paths.path(path_or_name)
    if path.is_file():
        return path
    known = packaged()
    if path.parent in (Path(), Path("recipes")) and path.suffix in ("", ".toml") and path.stem in known:
        return known[path.stem]
    if path.is_dir():
        raise RecipeError(f"{path}: is a directory; name a recipe's file")
    if path.exists():
        # a pipe or a device, which reading refuses by its kind
        return path
    near = nearest(path.stem, known)
    hint = f"did you mean '{near}'?" if near else "`afdctl recipes ls` lists the packaged ones"
    raise RecipeError(f"{path}: no such recipe ({hint})")


def find_base(extends: str, child: Path) -> Path | None:
    """The file that `extends` in the file `child` means: relative to `child`, or a packaged name."""
    candidates = (child.parent / os.path.expanduser(extends), folder() / f"{extends}.toml")
    return next((path for path in candidates if path.is_file()), None)


def shown(path: Path) -> Path:
    """The path as a message shows it: relative to the working directory where it lies inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


Keys = tuple[str, ...]
CLOSING: Final = ("]", "}", '"""', "'''")
"""What the last line of a statement of several lines has."""


class UnreadableError(ValueError):
    """A statement that tomli cannot carry, and the line where it begins."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def lines(text: str) -> dict[Keys, int]:
    """The line, from 1, of every table and key of a valid TOML text: `("attack", "epsilon") -> 9`."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    for line, statement in statements(text):
        parsed = list(key_paths(tomli.loads(statement)))
        if statement.lstrip().startswith("["):
            table = parsed[-1]
            parsed = [table]
        else:
            parsed = [table + keys for keys in parsed]
        for keys in parsed:
            found.setdefault(keys, line)
    return found


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and assignment with its first line: lines are joined until tomli can read them.

    UnreadableError for what breaks a limit of tomli or Python, which they report without a line.
    """
    start, statement = 1, ""
    for line, content in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        statement += content + "\n"
        # reading the whole statement again at each line of a long list would take minutes
        if line > start and not any(closing in content for closing in CLOSING):
            continue
        try:
            tomli.loads(statement)
        except tomli.TOMLDecodeError:
            continue
        except RecursionError:
            raise UnreadableError("nested too deep", start) from None
        except ValueError:
            raise UnreadableError("a number of too many digits", start) from None
        yield start, statement
        start, statement = line + 1, ""


def key_paths(values: Mapping[str, Any]) -> Iterator[Keys]:
    """Every key of a tree, tables before what is in them."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in key_paths(value))


# `name = afd` and `epsilon = 8/255`, the two that people write most
UNQUOTED: Final = re.compile(r"\s*([\w.-]+)\s*=\s*(?!true\b|false\b)([A-Za-z][\w-]*|[\d.]+/[\d.]+)\s*(#.*)?")
TEXT_BYTES: Final = 1 << 16
"""The largest file that is read; packaged ones have up to 12,000 bytes."""
DEEPEST: Final = 8
"""Tables and lists within each other; recipes and suites have up to 3."""
LARGEST: Final = 2**63 - 1
"""The largest whole number of TOML."""


@dataclass(frozen=True)
class Layer:
    """Values, and for every key the words that say where it was set; a file has such words for the empty key too."""

    values: dict[str, Any]
    where: dict[Keys, str]


def read(path: Path) -> Layer:
    """The layer of a file."""
    source = str(shown(path))
    return parse(read_text(path, source), source)


def read_text(path: Path, source: str) -> str:
    """Read a recipe's or a suite's text; RecipeError calls it `source`."""
    try:
        return paths.read(path, TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error.strerror}") from None


def parse(text: str, source: str) -> Layer:
    """The layer of a TOML text that messages call `source`."""
    try:
        values = tomli.loads(text)
        refuse_extremes(text, source)
        where = {keys: f"{source}:{line}: " for keys, line in lines(text).items()}
    except tomli.TOMLDecodeError as error:
        raise RecipeError(f"{source}:{error.lineno}:{error.colno}: not TOML: {explain(error)}") from None
    except (RecursionError, ValueError):
        raise RecipeError(f"{source}{unreadable(text)}") from None
    return Layer(values, {(): f"{source}: ", **where})


def refuse_extremes(text: str, source: str) -> None:
    """RecipeError for a statement that is nested too deep or has too large a number, with its line."""
    for line, statement in statements(text):
        if reason := extreme(tomli.loads(statement)):
            raise RecipeError(f"{source}:{line}: {reason}")


def extreme(values: Mapping[str, Any]) -> str | None:
    """Say which value of a tree is nested too deep or too large a number for what reads it; None for none."""
    waiting: list[tuple[Keys, int, Any]] = [((), 0, values)]
    while waiting:
        keys, depth, value = waiting.pop()
        name = paths.shortened(".".join(keys))
        if depth > DEEPEST:
            return f"{name}: nested more than {DEEPEST} deep"
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{name}: a whole number beyond 64 bits"
        if isinstance(value, dict):
            waiting += [((*keys, key), depth + 1, item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(keys, depth + 1, item) for item in value]
    return None


def unreadable(text: str) -> str:
    """Where and why tomli gave up on a text without naming a line."""
    try:
        for _ in statements(text):
            pass
    except UnreadableError as error:
        return f":{error.line}: {error}"
    return ": nested too deep"


def explain(error: tomli.TOMLDecodeError) -> str:
    """What the parser says, and what to do where the mistake is a common one."""
    reason = error.msg[0].lower() + error.msg[1:]
    unquoted = UNQUOTED.fullmatch(error.doc.split("\n")[error.lineno - 1])
    return f'{reason}; text needs quotes: {unquoted[1]} = "{unquoted[2]}"' if unquoted else reason


def toml_value(text: str) -> Any:
    """The TOML value that `text` is, or else `text`."""
    try:
        return tomli.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # also what breaks a limit of Python: no key takes such a text
        return text
