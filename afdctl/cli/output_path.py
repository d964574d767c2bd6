"""Output files: at the path of an option, or in the folder that it names; what `export` writes, also to stdout."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl import paths
from afdctl.errors import RecipeError, file_errors

if TYPE_CHECKING:
    from afdctl.runs.run import Run

# the longest run names in a file name, which has at most 255 bytes
MAX_RUNS_BYTES = 150


@dataclass(frozen=True)
class OutputPath:
    """The path of an option. With a slash at its end (`slash`) it is a folder, even if it does not exist yet."""

    path: Path
    slash: bool = False
    option: str = "--out"

    @classmethod
    def of(cls, text: str, option: str = "--out") -> "OutputPath":
        """Parse a path and expand `~`; RecipeError for an invalid path."""
        return cls(paths.path(text), text.endswith("/"), option)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, in which files get their default names."""
        return self.slash or self.path.is_dir()

    def file(self, name: str) -> Path:
        """Return the path of a file: this path, or `name` in the folder, which is created.

        RecipeError where no file can be written. Symbolic links are followed.
        """
        if self.is_folder:
            return self.within(name)
        self.check()
        return self._replaceable(self.path)

    def within(self, name: str) -> Path:
        """Return the path of one of several files in the folder, which is created. Errors: see `file`."""
        if self.path.exists() and not self.path.is_dir():
            raise RecipeError(f"{self.option} {self.path}: is a file, not a folder; name a folder")
        path = self.path / name
        try:
            with file_errors(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise RecipeError(
                f"{self.option} {path.parent}: cannot be created ({reason}); name another folder"
            ) from None
        return self._replaceable(path)

    def check(self) -> None:
        """Raise RecipeError where `file` would, without creating a folder."""
        if self.is_folder:
            if not self.path.is_dir() and self.path.exists():
                raise RecipeError(f"{self.option} {self.path}/: is a file, not a folder; name a folder")
            return
        path = self._replaceable(self.path)
        if not path.parent.is_dir():
            raise RecipeError(
                f"{self.option} {path}: there is no folder {path.parent}; make it first, or end a folder's name with /"
            )

    def _replaceable(self, path: Path) -> Path:
        # such as /dev/null, which the atomic write would replace by a file
        if path.exists() and not path.is_file():
            raise RecipeError(f"{self.option} {path}: exists and is not a regular file, so it is not replaced")
        # the atomic write would replace the link itself and leave the file behind it as it was
        return path.resolve() if path.is_symlink() else path


def option(name: str, **more: Any) -> Any:
    """Return the typer option of an output path."""
    return typer.Option(name, parser=_reader(name), metavar=more.pop("metavar", "PATH"), show_default=False, **more)


def _reader(name: str) -> Any:
    # typer shows the name of a parser in the help
    reader = partial(OutputPath.of, option=name)
    reader.__name__ = "PATH"  # type: ignore[attr-defined]
    return reader


DEST = typer.Argument(
    parser=_reader("DEST"), metavar="DEST", help="A file or a folder, by default this one.", show_default=False
)


def runs_in_words(names: Sequence[str]) -> str:
    """Return the run names for a file name: `A`, `A-and-B`, or a number and a digest for many."""
    words = "-and-".join(names)
    if len(os.fsencode(words)) > MAX_RUNS_BYTES:
        words = f"{len(names)}-runs-{sha256(os.fsencode('/'.join(names))).hexdigest()[:8]}"
    return words


def figure_path(runs: "Sequence[Run]", name: str, out: OutputPath | None, *, alone: bool) -> Path:
    """Return the path of an analysis' figure: `out` itself for the only one, else with the analysis in its name."""
    if out is None:
        several = f"-of-{len(runs)}-runs" if len(runs) > 1 else ""
        return OutputPath(runs[0].path / "figures", slash=True).file(f"{name}{several}.svg")
    # figures of several runs or analyses in one folder must not replace each other
    if out.is_folder:
        return out.file(f"{runs_in_words([run.name for run in runs])}-{name}.svg")
    return out.file("") if alone else replace(out, path=out.path.with_stem(f"{out.path.stem}-{name}")).file("")


@dataclass(frozen=True)
class ExportOptions:
    """Options that all modes share; `runs` has at least one run.

    `named` is False where no run was named, so that `runs` are all runs or the newest.
    """

    runs: "list[Run]"
    named: bool
    checkpoint: str
    out: OutputPath | None
    data_dir: Path | None
    device: str
    json: bool
    format: str | None = None
    paper: bool = False
    follow: bool = False

    @property
    def destination(self) -> OutputPath:
        """--out, or the current folder."""
        return self.out or OutputPath(Path())

    @property
    def in_folder(self) -> bool:
        """Whether the file gets its default name."""
        return self.out is None or self.out.is_folder

    @property
    def prefix(self) -> str:
        """Start of a default file name: the runs' names, or nothing where all runs are exported."""
        return f"{runs_in_words([run.name for run in self.runs])}-" if self.named or len(self.runs) == 1 else ""

    def output_file(self, name: str) -> Path:
        """Return --out itself, or in a folder the default `name` after the runs' names.

        Follows a link, as a copy would. Error: RecipeError where no file can be written.
        """
        return self.destination.file(f"{self.prefix}{name}")


def check_suffix(options: ExportOptions, option: str, kind: str, suffixes: Mapping[str, str]) -> None:
    """Raise RecipeError where an option and the suffix of --out name different formats."""
    if options.out is None or options.in_folder:
        return
    named = suffixes.get(options.out.path.suffix.lower(), kind)
    if named != kind:
        raise RecipeError(f"--out {options.out}: its suffix is that of {named}, but {option} says {kind}; change one")


def write_output(options: ExportOptions, content: str | bytes | Iterable[str], name: str) -> None:
    """Write the content to --out atomically and print the path, or write it to stdout.

    `name` is the default file name in a folder; a text may come in pieces. Error: RecipeError for bytes to a terminal.
    """
    if options.out is not None:
        from afdctl.runs import files

        path = options.output_file(name)
        if isinstance(content, bytes):
            files.write_bytes(path, content)
        else:
            files.write_text(path, content)
        typer.echo(path)
    elif not isinstance(content, bytes):
        for piece in [content] if isinstance(content, str) else content:
            typer.echo(piece, nl=False)
    elif sys.stdout.isatty():
        raise RecipeError("parquet is not for a terminal; name a file with --out")
    else:
        sys.stdout.buffer.write(content)


def copy(source: Path, to: OutputPath | None, *, force: bool) -> Path:
    """Copy a packaged file, by default into the working folder; RecipeError for an existing file."""
    from afdctl.runs import files

    target = (to or OutputPath(Path())).file(source.name)
    if target.exists() and not force:
        raise RecipeError(f"{target}: exists; pass --force to overwrite it")
    files.write_bytes(target, source.read_bytes())
    return target
