"""Test paths on the command line: `~`, a trailing slash, and files that must not replace each other."""

from collections import defaultdict
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer

from afdctl import paths
from afdctl.cli import app
from afdctl.cli.output_path import OutputPath, copy, runs_in_words
from afdctl.errors import RecipeError

NO_FOLDER = "there is no folder no; make it first, or end a folder's name with /"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(group: Any) -> Iterator[Any]:
    """The function of every command of a group and of those below it."""
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from commands(command)
        else:
            # typer wraps it
            yield unwrap(command.callback)


def test_every_path_of_a_command_is_read_in_one_of_two_ways():
    readers = defaultdict(set)
    for command in commands(typer.main.get_command(app)):
        for name, kind in get_type_hints(command, include_extras=True).items():
            of = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            for named in {Path, OutputPath} & {of, *get_args(of)}:
                reader = kind.__metadata__[0].parser
                readers[named].add(getattr(reader, "func", reader))
                assert reader, f"{command.__name__} {name}"
    assert readers == {Path: {paths.path}, OutputPath: {OutputPath.of}}


def test_a_slash_makes_a_folder_and_nothing_else_does():
    assert OutputPath.of("new/").file("a.md") == Path("new/a.md")
    assert OutputPath.of("new").file("a.md") == Path("new/a.md")
    assert OutputPath.of("deep/er/").file("a.md") == Path("deep/er/a.md")
    assert OutputPath.of("file").file("a.md") == Path("file")
    with pytest.raises(RecipeError, match=f"^--out no/a.md: {NO_FOLDER}$"):
        OutputPath.of("no/a.md").file("a.md")


def test_a_check_makes_nothing(tmp_path: Path):
    OutputPath.of("new/").check()
    assert list(tmp_path.iterdir()) == []
    Path("file").write_text("")
    with pytest.raises(RecipeError, match=r"^--svg file/: is a file, not a folder"):
        OutputPath.of("file/", "--svg").check()


def test_runs_in_the_names_of_files_tell_them_apart():
    assert runs_in_words(["a"]) == "a"
    assert runs_in_words(["a", "b"]) == "a-and-b"
    many = [f"digits_wgan-{number:03d}" for number in range(20)]
    assert runs_in_words(many) != runs_in_words(many[:19])
    assert len(runs_in_words(many)) < 50
    assert runs_in_words(["caf\udce9"]) == "caf\udce9"
    assert runs_in_words(["caf\udce9"] * 40).startswith("40-runs-")


def test_a_copy_replaces_a_file_only_with_force():
    Path("mine.toml").write_text("mine")
    source = Path("strong.toml")
    source.write_text("packaged")
    with pytest.raises(RecipeError, match=r"^mine\.toml: exists; pass --force"):
        copy(source, OutputPath.of("mine.toml"), force=False)
    assert Path("mine.toml").read_text() == "mine"
    assert copy(source, OutputPath.of("new/"), force=False) == Path("new/strong.toml")
    assert copy(source, OutputPath.of("mine.toml"), force=True).read_text() == "packaged"
