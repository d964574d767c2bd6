"""The user's code of a run: copied into the run's folder, so that it resumes anywhere, and compared when it resumes."""

import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from afdctl import names
from afdctl.errors import CorruptError, file_errors
from afdctl.recipe import Recipe
from afdctl.recipe.user_names import NAMED_TABLES, describe_code
from afdctl.runs.run import Run
from afdctl.user_code.code import UserCode
from afdctl.user_code.imports import installed
from afdctl.user_code.spec import Spec

# larger files that the code reads are linked, not copied
COPIED_BYTES: Final = 64 << 20
# the folder of a run with the copies
COPIES: Final = "code"


def keep(chosen: Recipe, run: Run) -> Recipe:
    """Copy the user's code that was executed for a recipe into the run, and return the recipe that names the copies.

    Its names are relative to the run. What is installed stays where it is. Error: DiskFullError.
    """
    changed: dict[str, Any] = {}
    folders: dict[str, str] = {}
    for table, name, code in codes_of(chosen):
        own = {path: file for path, file in code.paths().items() if not installed(file)}
        if not names.is_code(name) or not own:
            continue
        spec = Spec.parse(name, Path.cwd())
        if code.place not in folders:
            folders[code.place] = _unused(spec.stem, set(folders.values()))
            _copy(own, run.path / COPIES / folders[code.place])
        file = code.path_of_main() if spec.file else spec.module
        kept = f"{COPIES}/{folders[code.place]}/{file}:{spec.name}"
        changed[table] = getattr(chosen, table).model_copy(update={NAMED_TABLES[table].key: kept})
    return chosen.model_copy(update={**changed, "user_code": _described(chosen) or None})


def changes(chosen: Recipe, recorded: Mapping[str, Any] | None, tables: Iterable[str] = NAMED_TABLES) -> str:
    """Name the first file of the code executed for a recipe that is not what a run recorded; empty if none."""
    now = _described(chosen, tables)
    for table, own in now.items():
        known = (recorded or {}).get(table, {}).get("files", {})
        changed = [path for path, digest in own["files"].items() if known.get(path) != digest]
        if changed:
            return f"{changed[0]} of {table}"
    return ""


def digest(chosen: Recipe, tables: Iterable[str]) -> str:
    """Return SHA-256 in hex of the code executed for some tables of a recipe."""
    return sha256(repr([own["digest"] for own in _described(chosen, tables).values()]).encode()).hexdigest()


def check_unchanged(chosen: Recipe, recorded: Mapping[str, Any] | None, run: Run) -> None:
    """Raise CorruptError where the code executed for a recipe is not what the run recorded."""
    if changed := changes(chosen, recorded):
        raise CorruptError(f"{run.path}: {changed} has changed since the run began; restore it, or train again")


def check_copies(recorded: Recipe, run: Run) -> None:
    """Raise CorruptError where a file of a run's copied code is missing or changed, before any of it is executed."""
    for table, own in (recorded.user_code or {}).items():
        name = getattr(getattr(recorded, table), NAMED_TABLES[table].key)
        folder = Spec.parse(name, run.path).folder if names.is_code(name) else None
        # what is installed is compared after it was imported
        if folder is None or not folder.is_relative_to((run.path / COPIES).resolve()):
            continue
        for path, digest in own["files"].items():
            file = folder / path
            if not file.is_file():
                raise CorruptError(f"{file}: missing; restore it from a copy, or train again")
            if sha256(file.read_bytes()).hexdigest() != digest:
                raise CorruptError(f"{file}: changed since the run began; restore it, or train again")


def codes_of(chosen: Recipe, tables: Iterable[str] = NAMED_TABLES) -> Iterator[tuple[str, str, UserCode]]:
    """Yield table, name and code of each user name in an executed recipe."""
    for table in [table for table in tables if table in (chosen.user_code or {})]:
        model = NAMED_TABLES[table]
        name = getattr(getattr(chosen, table), model.key)
        code = names.user_code(model.kind, name)
        assert code is not None
        yield table, name, code


def _described(chosen: Recipe, tables: Iterable[str] = NAMED_TABLES) -> dict[str, Any]:
    """Return what to record of the code, with the files that it has read since the recipe was loaded."""
    return {table: describe_code(table, name) for table, name, _ in codes_of(chosen, tables)}


def _unused(stem: str, used: set[str]) -> str:
    return stem if stem not in used else next(f"{stem}-{n}" for n in range(2, 100) if f"{stem}-{n}" not in used)


def _copy(files: dict[str, Path], folder: Path) -> None:
    for path, source in files.items():
        target = folder / path
        with file_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.stat().st_size > COPIED_BYTES:
                os.symlink(source.resolve(), target)
            else:
                target.write_bytes(source.read_bytes())
