"""Where a mode's text or bytes go: to --out, whose path is then printed, or to stdout."""

import sys
from collections.abc import Mapping

import typer

from afdctl.cli.exporting.wanted import Wanted
from afdctl.errors import RecipeError


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
