"""What all modes of `afdctl export` are told, and where their files go."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afdctl.cli.place import Place, runs_in_words

if TYPE_CHECKING:
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
