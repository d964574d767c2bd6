"""A run on disk: its files, and how it is made, found and verified."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from afdctl import paths
from afdctl.errors import CorruptError, NotFoundError
from afdctl.formatting import did_you_mean, one_line
from afdctl.journal import SCHEMA, Journal, check_schema, named
from afdctl.runs import files, folders
from afdctl.runs.journal_reader import JournalOutline

RUN = "run.json"


@dataclass(frozen=True)
class Run:
    """One run's folder. Its `run.json`, which is written last, makes it a run; without it nothing was trained there."""

    path: Path

    @classmethod
    def create(
        cls, root: Path, stem: str, recipe_text: str | None, provenance: Mapping[str, Any], *, name: str | None = None
    ) -> Self:
        """Make a run of a recipe (None: of a model that was not trained here) at once. Errors: those of `begin`."""
        with cls.begin(root, stem, name) as (run, _):
            if recipe_text is not None:
                run.write_recipe(recipe_text)
            run.complete(provenance)
        return run

    @classmethod
    @contextmanager
    def begin(cls, root: Path, stem: str, name: str | None = None) -> Iterator[tuple[Self, Journal]]:
        """Make `root/<stem>-<next number>`, or `root/<name>`, for a run to come, and hold its journal.

        A folder in which a run was begun and nothing trained is taken again. On leaving, a folder without run.json is
        removed. Errors: RecipeError for a name that is taken or is none, BusyError, DiskFullError.
        """
        run, journal = folders.begin(root, stem, name)
        with journal:
            try:
                yield cls(run), journal
            finally:
                # an error of this must not hide the one that ended the training
                with suppress(OSError):
                    if folders.never_trained(run):
                        shutil.rmtree(run, ignore_errors=True)

    def write_recipe(self, text: str) -> None:
        """Store the resolved recipe and make the folder for checkpoints. Error: DiskFullError."""
        with named(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)
        files.write_text(self.recipe_path, text)

    def complete(self, provenance: Mapping[str, Any]) -> None:
        """Write run.json: the provenance, the recipe's digest and, last, its own digest. Error: DiskFullError."""
        facts: dict[str, Any] = {"schema": SCHEMA, **provenance}
        if self.recipe_path.exists():
            facts["recipe_digest"] = sha256(self.recipe_path.read_bytes()).hexdigest()
        text = json.dumps(facts | {"digest": _digest(facts)}, indent=2)
        files.write_text(self.path / RUN, text)

    @classmethod
    def all(cls, root: Path) -> list[Self]:
        """Every run under `root`, the oldest first, those that have lost their run.json included."""
        made = {file.parent: file for file in root.glob(f"*/{RUN}")}
        # a hidden folder is one that is being removed
        for file in root.glob(f"[!.]*/{folders.JOURNAL}"):
            if file.parent not in made and not folders.never_trained(file.parent):
                made[file.parent] = file
        return [cls(path) for path in sorted(made, key=lambda path: (made[path].stat().st_mtime_ns, path.name))]

    @classmethod
    def find(cls, spec: str, root: Path) -> Self:
        """The run at the path `spec`, or of that name under `root`, or the newest that has a journal (`latest`).

        Errors: NotFoundError for no run and for a run of another schema, CorruptError where run.json or recipe.toml is
        not what was written.
        """
        run = cls.at(spec, root)
        run.verify()
        return run

    @classmethod
    def at(cls, spec: str, root: Path) -> Self:
        """As `find`, but whatever state the run is in. Error: NotFoundError for no run."""
        return cls._latest(root) if spec == "latest" else cls._named(spec, root)

    @classmethod
    def _latest(cls, root: Path) -> Self:
        journals = {run: run.journal_path for run in cls.all(root) if run.exists}
        started = [run for run, path in journals.items() if path.exists() and path.stat().st_size]
        if not started:
            raise NotFoundError(f"{root}: no run here; start one with `afdctl train`, or name the folder with --runs")
        return started[-1]

    @classmethod
    def _named(cls, spec: str, root: Path) -> Self:
        places = (paths.path(spec), root / spec)
        for path in places:
            if (path / RUN).is_file():
                return cls(path)
        for path in places:
            if folders.never_trained(path):
                raise NotFoundError(
                    f"{path}: nothing was trained here yet; start it with `afdctl train RECIPE --name {path.name}`"
                )
            if (path / folders.JOURNAL).exists():
                raise CorruptError(f"{path / RUN}: missing; restore it from a copy")
            if path.exists():
                raise NotFoundError(f"{path}: not a run (it has no {RUN}); name a run's folder")
        hint = did_you_mean(spec, [run.name for run in cls.all(root)], "name another folder with --runs")
        raise NotFoundError(f"{spec}: no such run under {root}; {hint}")

    @property
    def name(self) -> str:
        """The folder's name, on one line."""
        return one_line(self.path.resolve().name)

    @property
    def exists(self) -> bool:
        """Whether it is a run yet, which can be resumed."""
        return (self.path / RUN).exists()

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    def verify(self) -> None:
        """Raise what `provenance` and `recipe_text` raise of a run that is not what was written."""
        _ = self.recipe_text

    @property
    def recipe_text(self) -> str:
        """The recipe as TOML, its digest verified; empty for an external run. Error: CorruptError."""
        facts = self.provenance
        if facts.get("kind") == "external":
            return ""
        data = _read(self.recipe_path)
        if sha256(data).hexdigest() != facts.get("recipe_digest"):
            raise CorruptError(
                f"{self.recipe_path}: changed since the run began; restore it from a copy; to train the changed "
                f"recipe, `cp {self.recipe_path} my.toml` and `afdctl train my.toml`"
            )
        return data.decode()

    @property
    def kind(self) -> str:
        """`trained`; `imported`: a network that others trained; `external`: a model of one's own, measured only."""
        kind: str = self.provenance.get("kind", "trained")
        return kind

    @property
    def provenance(self) -> dict[str, Any]:
        """The content of run.json without its digest, which is verified; `schema` included.

        Errors: NotFoundError for another schema, CorruptError.
        """
        file = self.path / RUN
        try:
            facts: dict[str, Any] = {} | json.loads(_read(file))
            schema, digest = facts["schema"], facts.pop("digest", None)
            check_schema(schema, self.path)
            if digest != _digest(facts):
                raise ValueError(digest)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CorruptError(f"{file}: damaged or changed since the run began; restore it from a copy") from None
        return facts

    @property
    def journal_path(self) -> Path:
        return self.path / folders.JOURNAL

    @property
    def finished(self) -> bool:
        """Whether the journal says that the training came to its end."""
        rows = JournalOutline(self.journal_path).rows
        return any(row["event"] == "end" and row["reason"] == "finished" for row in rows)

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

    def open_journal(self) -> Journal:
        """Open the run for writing (BusyError if another process does) and clear away what a killed one half wrote.

        Where the journal has lost its end, a results.h5 that has these rows is kept under another name.
        """
        from afdctl.runs.lost_rows import keep_lost_rows, made_from

        journal = Journal.open(self.journal_path)
        keep_lost_rows(self, made_from(self.results_path), journal.offset)
        files.remove_stale_temp_files(self.path)
        files.remove_stale_temp_files(self.checkpoints)
        files.remove_stale_temp_files(self.shards)
        return journal


def _digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON."""
    return sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with named(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise CorruptError(f"{path}: missing; restore it from a copy") from None
