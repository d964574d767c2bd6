"""The system calls of a command that touch its runs, found by strace, and runs where one of them fails or kills."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.process import Ended, run

WRITES = ("openat", "pwrite64", "write", "rename", "fsync", "fdatasync", "ftruncate", "unlink", "mkdir")
READS = ("openat", "read", "pread64")
LOG = ".calls"


@dataclass(frozen=True)
class Site:
    """One system call: the `number`-th of its name, which touched `path`."""

    name: str
    number: int
    path: str

    def __str__(self) -> str:
        return f"{self.name} {self.number} on {self.path}"


def sites(command: Sequence[str], folder: Path, names: Sequence[str]) -> list[Site]:
    """Run a command and list its calls of these names that touch files under `folder/runs`.

    Among WRITES, those that open a file to write it; among READS, those that open one to read it.
    """
    ended = run(command, folder, [*_logged(folder), "-e", f"trace={','.join(names)}"])
    assert ended.code == 0, ended.err
    found, counts = [], Counter[str]()
    for line in _lines(folder):
        if not (match := re.match(r"(?:\d+ +)?(\w+)\(", line)):
            continue
        name = match[1]
        counts[name] += 1
        writes = bool(re.search("O_WRONLY|O_RDWR|O_CREAT", line))
        if (path := _touched(line, folder)) and (name != "openat" or writes == (names == WRITES)):
            found.append(Site(name, counts[name], path))
    return found


def killed_at(site: Site, command: Sequence[str], folder: Path) -> Ended:
    """Run a command whose process is killed when it makes this call, before the call is done."""
    return run(command, folder, [*_logged(folder), *_chosen(site, "signal=KILL")])


def failed_at(site: Site, error: str, command: Sequence[str], folder: Path) -> tuple[Ended, str | None]:
    """Run a command of which this call fails; returns the path that it touched, None where it met no run's file."""
    ended = run(command, folder, [*_logged(folder), *_chosen(site, f"error={error}")])
    struck = [line for line in _lines(folder) if "(INJECTED)" in line]
    return ended, _touched(struck[0], folder) if struck else None


def _chosen(site: Site, what: str) -> list[str]:
    return ["-e", f"trace={site.name}", "-e", f"inject={site.name}:{what}:when={site.number}"]


def _logged(folder: Path) -> list[str]:
    return ["-y", "-s", "0", "-o", str(folder / LOG)]


def _lines(folder: Path) -> list[str]:
    return (folder / LOG).read_text(errors="replace").splitlines()


def _touched(line: str, folder: Path) -> str | None:
    """The path below `folder/runs` that a line of strace's log names, relative to the folder."""
    top = folder.resolve()
    for named, quoted in re.findall(r'<(/[^>]*)>|"([^"]+)"', line.rsplit(" = ", 1)[0]):
        path = os.path.relpath(os.path.normpath(top / (quoted or named)), top)
        if path.split(os.sep)[0] == "runs":
            return re.sub(r"\.\d+\.tmp", ".PID.tmp", path)
    return None
