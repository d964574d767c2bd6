"""What all modes of `afdctl export` share: their options, the runs they read and where results go."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.place import Place, runs_in_words
from afdctl.errors import AfdctlError, NotFoundError, RecipeError

if TYPE_CHECKING:
    from afdctl.store.record import Record
    from afdctl.store.run import Run


@dataclass(frozen=True)
class Wanted:
    """The command line's wishes that do not depend on the mode; `runs` are there, at least one.

    `named`: whether they were named, or stand for all there are, or for the newest.
    """

    runs: list["Run"]
    named: bool
    checkpoint: str
    out: Place | None
    data_dir: Path | None
    device: str
    json: bool
    format: str | None = None
    paper: bool = False

    def file(self, name: str) -> Path:
        """Where a file goes: --out, or in the folder --out, by default the current one, with the runs before its name.

        RecipeError where no file can be put there. A link is followed, as a copy would.
        """
        return self.place.file(f"{self.prefix}{name}")

    @property
    def place(self) -> Place:
        """--out, or the current folder."""
        return self.out or Place(Path())

    @property
    def in_folder(self) -> bool:
        """Whether files get names of their own."""
        return self.out is None or self.out.is_folder

    @property
    def prefix(self) -> str:
        """What a file's name in a folder begins with: the runs, or nothing where none was named and all are meant."""
        return f"{runs_in_words([run.name for run in self.runs])}-" if self.named or len(self.runs) == 1 else ""


def records_of(wanted: Wanted) -> "list[Record]":
    """Read the runs, and report what their journals have lost.

    Where none was named, one that cannot be read is reported and left out.
    """
    from afdctl.store.record import Record

    records = []
    for run in wanted.runs:
        try:
            records.append(Record.of(run))
        except (AfdctlError, OSError) as error:
            if wanted.named:
                raise
            typer.echo(f"warning: {run.name} left out: {error}", err=True)
    if not records:
        raise NotFoundError("no run here can be read; name the folder of others with --runs")
    for record in records:
        for gap in record.lost:
            typer.echo(f"warning: {gap}", err=True)
    return records


def agree(wanted: Wanted, option: str, kind: str, suffixes: Mapping[str, str]) -> None:
    """RecipeError where the format that an option names is not that of --out's suffix, which readers would believe."""
    if wanted.out is None or wanted.in_folder:
        return
    named = suffixes.get(wanted.out.path.suffix.lower(), kind)
    if named != kind:
        raise RecipeError(f"--out {wanted.out}: its suffix is that of {named}, and {option} says {kind}; change one")


def put(wanted: Wanted, content: str | bytes, name: str) -> None:
    """Write the file at once or not at all; `name` is its name where --out is a folder.

    RecipeError for bytes that would go to a terminal.
    """
    if wanted.out is not None:
        from afdctl.store import atomic

        path = wanted.file(name)
        if isinstance(content, str):
            atomic.write_text(path, content)
        else:
            atomic.write_bytes(path, content)
        typer.echo(path)
    elif isinstance(content, str):
        typer.echo(content, nl=False)
    elif sys.stdout.isatty():
        raise RecipeError("parquet is not for a terminal; name a file with --out")
    else:
        sys.stdout.buffer.write(content)
