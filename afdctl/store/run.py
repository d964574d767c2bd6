"""A run on disk: its folder, and how it is made and found."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from afdctl import registry
from afdctl.errors import CorruptError, NotFoundError, RecipeError
from afdctl.events import SCHEMA, Journal, refuse_newer, space_needed
from afdctl.store import atomic
from afdctl.store.outline import Outline

NO_NAMES = {"", ".", "..", "-", "latest"}


@dataclass(frozen=True)
class Run:
    """One run's folder; what makes it a run is its `run.json`."""

    path: Path

    @classmethod
    def create(
        cls, root: Path, stem: str, recipe_text: str | None, provenance: Mapping[str, Any], *, name: str | None = None,
        reserved: bool = False,
    ) -> Self:  # fmt: skip
        """Make `root/<stem>-<next number>`, or `root/<name>` (RecipeError if it exists), with recipe and provenance.

        A run without a recipe keeps what is measured of a model that was not trained here. `reserved`: the folder
        `root/<name>` is there already and waits for them.
        """
        run = cls(root / name) if reserved and name else cls.reserve(root, stem, name)
        try:
            run.checkpoints.mkdir()
            if recipe_text is not None:
                atomic.write_bytes(run.recipe_path, recipe_text.encode())
            atomic.write_bytes(run.path / "run.json", json.dumps({"schema": SCHEMA, **provenance}, indent=2).encode())
        except BaseException:
            shutil.rmtree(run.path)
            raise
        return run

    @classmethod
    def reserve(cls, root: Path, stem: str, name: str | None = None) -> Self:
        """Make the folder of a run to come: it is no run yet, but nobody else gets its name."""
        return cls(_new_folder(root, stem, name))

    @classmethod
    def all(cls, root: Path) -> list[Self]:
        """Every run under `root`, the oldest first."""
        made = sorted(root.glob("*/run.json"), key=lambda file: (file.stat().st_mtime_ns, file.parent.name))
        return [cls(file.parent) for file in made]

    @classmethod
    def find(cls, spec: str, root: Path) -> Self:
        """The run at the path `spec`, or of that name under `root`, or the newest that has a journal (`latest`).

        Errors: NotFoundError for no run and for a run of a newer schema, CorruptError for a damaged run.json.
        """
        run = cls.at(spec, root)
        refuse_newer(run.provenance["schema"], run.path)
        return run

    @classmethod
    def at(cls, spec: str, root: Path) -> Self:
        """As `find`, but whatever state the run is in. Error: NotFoundError for no run."""
        return cls._latest(root) if spec == "latest" else cls._named(spec, root)

    @classmethod
    def _latest(cls, root: Path) -> Self:
        started = [run for run in cls.all(root) if run.journal_path.exists()]
        if not started:
            raise NotFoundError(f"{root}: no run here; start one with `afdctl train`, or name the folder with --runs")
        return started[-1]

    @classmethod
    def _named(cls, spec: str, root: Path) -> Self:
        places = (Path(spec), root / spec)
        for path in places:
            if (path / "run.json").is_file():
                return cls(path)
        for path in places:
            if path.exists():
                raise NotFoundError(f"{path}: not a run (it has no run.json); name a run's folder")
        near = registry.nearest(spec, [run.name for run in cls.all(root)])
        hint = f"did you mean '{near}'?" if near else "name another folder with --runs"
        raise NotFoundError(f"{spec}: no such run under {root}; {hint}")

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def recipe_text(self) -> str:
        """The recipe as TOML; empty for an external run."""
        if self.kind == "external":
            return ""
        try:
            return self.recipe_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CorruptError(f"{self.recipe_path}: missing; restore it from a copy") from None

    @property
    def kind(self) -> str:
        """`trained`; `imported`: a network that others trained; `external`: a model of one's own, measured only."""
        kind: str = self.provenance.get("kind", "trained")
        return kind

    @property
    def provenance(self) -> dict[str, Any]:
        """The content of run.json, `schema` included."""
        file = self.path / "run.json"
        try:
            provenance: dict[str, Any] = {"schema": 0} | json.loads(file.read_bytes())
            if not isinstance(provenance["schema"], int):
                raise ValueError(provenance["schema"])
        except (ValueError, TypeError):
            raise CorruptError(f"{file}: damaged; restore it from a copy") from None
        return provenance

    @property
    def journal_path(self) -> Path:
        return self.path / "events.ndjson"

    @property
    def finished(self) -> bool:
        """Whether the journal says that the training came to its end."""
        rows = Outline(self.journal_path).rows
        return any(row["event"] == "end" and row["reason"] == "finished" for row in rows)

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.checkpoints / "last").exists()

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
        """Open the run for writing (BusyError if another process does) and clear away what a killed one half wrote."""
        journal = Journal.open(self.journal_path)
        atomic.sweep(self.path)
        atomic.sweep(self.checkpoints)
        atomic.sweep(self.shards)
        return journal


def _new_folder(root: Path, stem: str, name: str | None) -> Path:
    if name is not None and (name in NO_NAMES or "/" in name):
        raise RecipeError(f"--name '{name}': not a name for a run; use letters, digits, '-' and '_'")
    try:
        with space_needed(root):
            root.mkdir(parents=True, exist_ok=True)
            return _numbered(root, stem) if name is None else _exact(root / name)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise RecipeError(f"{root}: no run can be made here ({reason}); choose another folder with --runs") from None


def _exact(folder: Path) -> Path:
    try:
        folder.mkdir()
    except FileExistsError:
        raise RecipeError(f"{folder}: exists; choose another --name, or continue that run with --resume") from None
    return folder


def _numbered(root: Path, stem: str) -> Path:
    pattern = re.compile(re.escape(stem) + r"-(\d+)")
    while True:
        taken = [int(match[1]) for path in root.iterdir() if (match := pattern.fullmatch(path.name))]
        folder = root / f"{stem}-{max(taken, default=0) + 1:03d}"
        # mkdir decides between two processes that want the same number
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
