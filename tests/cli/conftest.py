"""Run commands in the process of the tests, where they need no separate one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from afdctl import cli


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Afdctl = Callable[..., Ended]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture
def afdctl(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Afdctl]:
    """Run any command in this process, in `folder`."""
    threads = torch.get_num_threads()

    def run(*arguments: str) -> Ended:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["afdctl", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return Ended(ended.code or 0, *capsys.readouterr())
        return Ended(0, *capsys.readouterr())

    yield run
    # a resumed run takes as many as it began with
    torch.set_num_threads(threads)


@pytest.fixture
def here(afdctl: Afdctl) -> Afdctl:
    """Run `afdctl train ...` in this process."""
    return lambda *arguments: afdctl("train", *arguments)
