"""A run on disk: its files, its provenance, and how runs are made and found."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from afdctl import paths
from afdctl.errors import CorruptError, NotFoundError, file_errors, option
from afdctl.formatting import did_you_mean, one_line
from afdctl.journal import SCHEMA, Journal, JournalCache, check_schema
from afdctl.runs import files, folders
from afdctl.runs.folders import JOURNAL, RUN

# Name of a results.h5 that has rows which the journal has lost; `size` is that of the journal it was made from.
KEPT: Final = "results-{size}.h5"
# First line of results.h5, before the HDF5 data.
RESULTS_BEGIN: Final = b"afdctl results from %d bytes of events.ndjson\n"


@dataclass(frozen=True)
class Run:
    """One run's folder. `run.json`, which is written last, makes it a run; without it nothing was trained there."""

    path: Path

    @classmethod
    def create(
        cls, root: Path, stem: str, recipe_text: str | None, provenance: Mapping[str, Any], *, name: str | None = None
    ) -> Self:
        """Make a complete run of a recipe (None: of a model trained elsewhere). Errors: those of `begin`."""
        with cls.begin(root, stem, name) as (run, _):
            if recipe_text is not None:
                run.write_recipe(recipe_text)
            run.complete(provenance)
        return run

    @classmethod
    @contextmanager
    def begin(cls, root: Path, stem: str, name: str | None = None) -> Iterator[tuple[Self, Journal]]:
        """Make the folder of a new run, `root/<name>` or `root/<stem>-<next number>`, and hold its journal.

        On leaving, a folder in which nothing was trained is removed. Errors: RecipeError for an invalid or used name,
        BusyError, DiskFullError.
        """
        with folders.claimed(root, stem, name) as (folder, journal):
            try:
                yield cls(folder), journal
            finally:
                # an error here must not hide the one that ended the training
                with suppress(OSError):
                    if folders.never_trained(folder):
                        shutil.rmtree(folder, ignore_errors=True)

    def write_recipe(self, text: str) -> None:
        """Store the resolved recipe and make the folder of checkpoints. Error: DiskFullError."""
        with file_errors(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)
        files.write_text(self.recipe_path, text)

    def complete(self, provenance: Mapping[str, Any]) -> None:
        """Write run.json: the provenance, the recipe's digest and, last, its own digest. Error: DiskFullError."""
        content: dict[str, Any] = {"schema": SCHEMA, **provenance}
        if self.recipe_path.exists():
            content["recipe_digest"] = sha256(self.recipe_path.read_bytes()).hexdigest()
        files.write_text(self.path / RUN, json.dumps(content | {"digest": _digest(content)}, indent=2))

    @classmethod
    def all(cls, root: Path) -> list[Self]:
        """Return every run under `root`, the oldest first, including those whose run.json is missing."""
        files_of_runs = {file.parent: file for file in root.glob(f"*/{RUN}")}
        # a hidden folder is being removed
        for file in root.glob(f"[!.]*/{JOURNAL}"):
            if file.parent not in files_of_runs and not folders.never_trained(file.parent):
                files_of_runs[file.parent] = file
        by_age = sorted(files_of_runs, key=lambda path: (files_of_runs[path].stat().st_mtime_ns, path.name))
        return [cls(path) for path in by_age]

    @classmethod
    def find(cls, spec: str, root: Path, otherwise: str | None = None) -> Self:
        """Return the run at the path `spec`, or of that name under `root`, or the newest one (`latest`), verified.

        Errors: NotFoundError for no run, with the remedy `otherwise`, and for a run of another schema,
        CorruptError if run.json or recipe.toml was changed.
        """
        run = cls.at(spec, root, otherwise)
        run.verify()
        return run

    @classmethod
    def at(cls, spec: str, root: Path, otherwise: str | None = None) -> Self:
        """Return a run as `find` does, but unverified. Error: NotFoundError."""
        otherwise = otherwise or ("check the path" if os.sep in spec else f"name another folder with {option('runs')}")
        return cls._latest(root, otherwise) if spec == "latest" else cls._named(spec, root, otherwise)

    @classmethod
    def _latest(cls, root: Path, otherwise: str) -> Self:
        journals = {run: run.journal_path for run in cls.all(root) if run.exists}
        # a run without a row can be neither shown nor resumed
        started = [run for run, path in journals.items() if path.exists() and path.stat().st_size]
        if not started:
            raise NotFoundError(f"{root}: no run here; start one with `afdctl train`, or {otherwise}")
        return started[-1]

    @classmethod
    def _named(cls, spec: str, root: Path, otherwise: str) -> Self:
        # the path first, so that a run of this name cannot hide the folder that the user named
        places = (paths.path(spec), root / spec)
        for path in places:
            if (path / RUN).is_file():
                return cls(path)
        for path in places:
            if folders.never_trained(path):
                command = f"afdctl train RECIPE{folders.runs_option(path.parent)} --name {path.name}"
                raise NotFoundError(f"{path}: nothing was trained here yet; start it with `{command}`")
            if (path / JOURNAL).exists():
                raise CorruptError(f"{path / RUN}: missing; restore it from a copy")
            if path.exists():
                raise NotFoundError(f"{path}: not a run (it has no {RUN}); name a run's folder")
        if os.sep in spec:
            raise NotFoundError(f"{spec}: no such folder; {otherwise}")
        hint = did_you_mean(spec, [run.name for run in cls.all(root)], otherwise)
        raise NotFoundError(f"{spec}: no such run under {root}; {hint}")

    @property
    def name(self) -> str:
        """The folder's name, on one line."""
        return one_line(self.path.resolve().name)

    @property
    def exists(self) -> bool:
        """Whether the run is complete, so that it can be resumed."""
        return (self.path / RUN).exists()

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def journal_path(self) -> Path:
        return self.path / JOURNAL

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def shards(self) -> Path:
        return self.path / "shards"

    @property
    def results_path(self) -> Path:
        return self.path / "results.h5"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    def verify(self) -> None:
        """Verify run.json and recipe.toml. Errors: those of `provenance` and `recipe_text`."""
        _ = self.recipe_text

    @property
    def recipe_text(self) -> str:
        """The recipe as TOML, its digest verified; empty for an external run. Error: CorruptError."""
        provenance = self.provenance
        if provenance.get("kind") == "external":
            return ""
        data = _read(self.recipe_path)
        if sha256(data).hexdigest() != provenance.get("recipe_digest"):
            raise CorruptError(
                f"{self.recipe_path}: changed since the run began; restore it from a copy; to train the changed "
                f"recipe, `cp {self.recipe_path} my.toml` and `afdctl train my.toml`"
            )
        return data.decode()

    @property
    def kind(self) -> str:
        """`trained`, `imported` (a checkpoint of the authors' code) or `external` (a custom model, only evaluated)."""
        kind: str = self.provenance.get("kind", "trained")
        return kind

    @property
    def provenance(self) -> dict[str, Any]:
        """The content of run.json, verified, without its digest.

        Errors: NotFoundError for another schema, CorruptError.
        """
        file = self.path / RUN
        try:
            content: dict[str, Any] = {} | json.loads(_read(file))
            schema, digest = content["schema"], content.pop("digest", None)
            check_schema(schema, self.path)
            if digest != _digest(content):
                raise ValueError(digest)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CorruptError(f"{file}: damaged or changed since the run began; restore it from a copy") from None
        return content

    @property
    def finished(self) -> bool:
        """Whether the training was finished, according to the journal."""
        # a resume after the end means that the training is unfinished again
        rows = (row for _, row in JournalCache.of(self.journal_path).refresh() if row["event"] in ("resume", "end"))
        *_, last = ({}, *rows)
        return last.get("reason") == "finished"

    def open_journal(self) -> Journal:
        """Open the run for writing and remove temporary files of dead processes. Error: BusyError.

        If the journal has lost its end, a results.h5 made from the lost rows is kept under another name.
        """
        journal = Journal.open(self.journal_path)
        self.keep_lost_rows(self.results_journal_size, journal.offset)
        for folder in (self.path, self.checkpoints, self.shards):
            files.remove_stale_temp_files(folder)
        return journal

    @property
    def results_journal_size(self) -> int:
        """The size in bytes of the journal that results.h5 was made from; 0 if it is missing or cannot be opened.

        Its first line says it. A size beyond the journal's end means lost rows; that is taken from the file's
        attribute, which proves that the file can be opened, and so is that of a file without this line.
        """
        with suppress(OSError, KeyError):
            with self.results_path.open("rb") as file:
                match = re.match(RESULTS_BEGIN.replace(b"%d", rb"(\d{1,18})"), file.readline(80))
            end = self.journal_path.stat().st_size if self.journal_path.exists() else 0
            if match and int(match[1]) <= end:
                return int(match[1])

            import h5py  # takes longer than everything else that `runs ls` does for 100 runs

            with h5py.File(self.results_path) as results:
                return int(results.attrs["log_offset"])
        return 0

    def keep_lost_rows(self, size: int, end: int) -> None:
        """Rename results.h5 if it was made from `size` bytes of a journal that now ends before that, at `end`."""
        # another process may have renamed it meanwhile
        if size > end and self.results_journal_size == size:
            self.results_path.replace(self.path / KEPT.format(size=size))


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with file_errors(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise CorruptError(f"{path}: missing; restore it from a copy") from None
