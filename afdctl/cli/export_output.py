"""What all modes of `afdctl export` share: their options, the runs they read and where results go."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afdctl.cli.output_path import OutputPath, runs_in_words
from afdctl.errors import AfdctlError, NotFoundError, RecipeError

if TYPE_CHECKING:
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run


@dataclass(frozen=True)
class ExportOptions:
    """Options of the command line that all modes share; `runs` has one run at least.

    `named` is False where no run was named, so that `runs` are all runs or the newest.
    """

    runs: list["Run"]
    named: bool
    checkpoint: str
    out: OutputPath | None
    data_dir: Path | None
    device: str
    json: bool
    format: str | None = None
    paper: bool = False

    def file(self, name: str) -> Path:
        """Path of a result: --out itself, or in the folder --out (default: the current one) with the runs' names first.

        Follows a link, as a copy would. Error: RecipeError where no file can be written.
        """
        return self.place.file(f"{self.prefix}{name}")

    @property
    def place(self) -> OutputPath:
        """--out, or the current folder."""
        return self.out or OutputPath(Path())

    @property
    def in_folder(self) -> bool:
        """Whether the name of the file is ours to choose."""
        return self.out is None or self.out.is_folder

    @property
    def prefix(self) -> str:
        """Start of a file name in a folder: the runs, or nothing where all runs are exported."""
        return f"{runs_in_words([run.name for run in self.runs])}-" if self.named or len(self.runs) == 1 else ""


def records_of(wanted: ExportOptions) -> "list[Record]":
    """Read the runs and warn of lost journal rows.

    Where no run was named, unreadable ones are left out with a warning.
    """
    from afdctl.runs.record import Record

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


def agree(wanted: ExportOptions, option: str, kind: str, suffixes: Mapping[str, str]) -> None:
    """Raise RecipeError where an option and the suffix of --out name different formats."""
    if wanted.out is None or wanted.in_folder:
        return
    named = suffixes.get(wanted.out.path.suffix.lower(), kind)
    if named != kind:
        raise RecipeError(f"--out {wanted.out}: its suffix is that of {named}, and {option} says {kind}; change one")


def put(wanted: ExportOptions, content: str | bytes, name: str) -> None:
    """Write the content to --out atomically and print the path, or write it to stdout.

    `name` is the file's name where --out is a folder. Error: RecipeError for bytes to a terminal.
    """
    if wanted.out is not None:
        from afdctl.runs import files

        path = wanted.file(name)
        if isinstance(content, str):
            files.write_text(path, content)
        else:
            files.write_bytes(path, content)
        typer.echo(path)
    elif isinstance(content, str):
        typer.echo(content, nl=False)
    elif sys.stdout.isatty():
        raise RecipeError("parquet is not for a terminal; name a file with --out")
    else:
        sys.stdout.buffer.write(content)
