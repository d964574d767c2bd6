"""Run real command lines in forked processes, so that a trial costs no import of torch and can be killed.

A fork server imports the program once. Each child changes its folder, sends stdout and stderr to files, and calls the
command line's `main`. With `strace`, a chosen system call of the child fails or kills it.
"""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

PATIENCE = 60.0
"""Seconds after which a command hangs; on an idle core each takes less than two."""
STRACE = shutil.which("strace")
WRITES = ("openat", "pwrite64", "write", "rename", "fsync", "fdatasync", "ftruncate", "unlink", "mkdir")
READS = ("openat", "read", "pread64")
PRELOADED = [
    "__main__", "h5py", "torch._dynamo", "torch._inductor.metrics", "sklearn.datasets", "scipy.stats", "safetensors.torch",
    "jinja2.ext", "afdctl.cli", "afdctl.cli.analysing.work", "afdctl.cli.evaluation", "afdctl.cli.progress",
    "afdctl.cli.sweeping", "afdctl.export.report", "afdctl.export.tables", "afdctl.sweep.runner", "afdctl.train.start",
    "afdctl.tui.app", "afdctl.tui.once", "tests.torture.process",
]  # fmt: skip

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code (None: it had to be killed because it hung), stdout, stderr."""

    command: str
    code: int | None
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(("error: ", "Error: "))]


@dataclass(frozen=True)
class Site:
    """One system call: the `number`-th of its name, which touched `path`."""

    name: str
    number: int
    path: str

    def __str__(self) -> str:
        return f"{self.name} {self.number} on {self.path}"


class Started:
    """A child at work on its commands."""

    def __init__(self, commands: Sequence[Sequence[str]], folder: Path, traced: Sequence[str] = ()) -> None:
        self.commands = [list(command) for command in commands]
        self.output = folder / ".said"
        self.output.mkdir(exist_ok=True)
        for old in self.output.iterdir():
            old.unlink()
        self.process: BaseProcess = _server.Process(target=_work, args=(self.commands, str(folder), bool(traced)))
        self.process.start()
        self.strace = _attach(self.process, traced) if traced else None

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal, to the child or to its process group; one that has ended gets none."""
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self) -> list[Ended]:
        """What each command left, in turn; those after a killed one are missing."""
        self.process.join(PATIENCE)
        hung = self.process.is_alive()
        self.send(signal.SIGKILL, group=True)
        self.process.join()
        if self.strace:
            self.strace.communicate()
        code = None if hung else self.process.exitcode
        codes = [int(line) for line in _text(self.output / "codes").split()]
        self.process.close()
        return [
            Ended(
                " ".join(["afdctl", *command]), codes[at] if at < len(codes) else code,
                _text(self.output / f"{at}.out"), _text(self.output / f"{at}.err"),
            )
            for at, command in enumerate(self.commands[: len(codes) + (len(codes) < len(self.commands))])
        ]  # fmt: skip


def run(command: Sequence[str], folder: Path, traced: Sequence[str] = ()) -> Ended:
    """Run one command in `folder` to its end."""
    return Started([command], folder, traced).wait()[0]


def run_all(commands: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """Run commands one after the other in one child, which is cheaper than one each."""
    return Started(commands, folder).wait()


def kill_at(site: Site) -> list[str]:
    return ["-e", f"trace={site.name}", "-e", f"inject={site.name}:signal=KILL:when={site.number}"]


def fail_at(site: Site, error: str) -> list[str]:
    return ["-e", f"trace={site.name}", "-e", f"inject={site.name}:error={error}:when={site.number}"]


def sites(command: Sequence[str], folder: Path, names: Sequence[str], below: str = "runs") -> list[Site]:
    """Run a command and list its system calls of these names that touch files under `folder/below`."""
    log = folder / ".calls"
    ended = run(command, folder, ["-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(names)}"])
    assert ended.code == 0, ended.err
    found, counts, inside = [], dict.fromkeys(names, 0), str((folder / below).resolve())
    for line in log.read_text(errors="replace").splitlines():
        if not (match := re.match(r"(?:\d+ +)?(\w+)\(", line)) or match[1] not in counts:
            continue
        counts[match[1]] += 1
        if touched := _touched(line, folder, inside):
            found.append(Site(match[1], counts[match[1]], touched))
    return found


def _touched(line: str, folder: Path, inside: str) -> str | None:
    """The path below `inside` that a line of strace's log names, relative to the folder."""
    for text in re.findall(r'<(/[^>]*)>|"([^"]+)"', line.split(" = ")[0]):
        path = os.path.normpath(folder.resolve() / (text[1] or text[0]))
        if path == inside or path.startswith(inside + os.sep):
            short = os.path.relpath(path, folder.resolve())
            return re.sub(r"\.\d+\.tmp", ".PID.tmp", short)
    return None


def _attach(process: BaseProcess, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Let strace hold the child, which waits for that."""
    assert STRACE
    quiet = ["-qq"] if "-o" in options else ["-qq", "-o", os.devnull]
    return subprocess.Popen([STRACE, *quiet, *options, "-p", str(process.pid)], stderr=subprocess.DEVNULL)


def _work(commands: list[list[str]], folder: str, traced: bool) -> None:
    from afdctl import cli

    os.setsid()
    os.chdir(folder)
    code = 0
    for at, command in enumerate(commands):
        _say_into(Path(".said") / str(at))
        if traced:
            _wait_for_strace()
        sys.argv = ["afdctl", *command]
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        if len(commands) > 1:
            with open(".said/codes", "a") as codes:
                codes.write(f"{code}\n")
    os._exit(code)


def _say_into(prefix: Path) -> None:
    for descriptor, name, suffix in ((1, "stdout", ".out"), (2, "stderr", ".err")):
        file = os.open(f"{prefix}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
        # not closed: what an earlier command of this child still holds may write to it
        setattr(sys, name, open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def _wait_for_strace() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)  # PR_SET_PTRACER, any process
    patience = time.monotonic() + PATIENCE
    while "\nTracerPid:\t0\n" in Path("/proc/self/status").read_text() and time.monotonic() < patience:
        time.sleep(0.002)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def parsed(text: str) -> object:
    """The JSON value that a command printed, or the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
