"""Run real command lines in forked processes, so that a trial costs no import of torch and can be killed.

A fork server imports the program once. Each child changes its folder, sends stdout and stderr to files, and calls the
command line's `main`. With `strace`, a chosen system call of the child fails or kills it.
"""

import ctypes
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a command hangs; on an idle core each takes less than two."""
MEMORY = 4 << 30
"""Bytes that a command may take, for the sake of what else runs here."""
OUTPUT = ".said"
"""The subfolder of a command's folder with its output."""
STRACE = shutil.which("strace")
PRELOADED = [
    "__main__",
    "h5py",
    "torch._dynamo",
    "torch._inductor.metrics",
    "sklearn.datasets",
    "scipy.stats",
    "safetensors.torch",
    "jinja2.ext",
    "afdctl.cli",
    "afdctl.cli.evaluation",
    "afdctl.cli.console",
    "afdctl.cli.evaluation_progress",
    "afdctl.cli.progress",
    "afdctl.export.report",
    "afdctl.export.tables",
    "afdctl.evaluation.runner",
    "afdctl.training.setup",
    "afdctl.tui.app",
    "afdctl.tui.screen",
    "tests.torture.process",
]

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
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Started:
    """A child process that runs its commands."""

    def __init__(self, commands: Sequence[Sequence[str]], folder: Path, traced: Sequence[str] = ()) -> None:
        """`traced`: options of strace, which then holds the child."""
        self.commands = [list(command) for command in commands]
        self.output = folder / OUTPUT
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
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> list[Ended]:
        """Return the results of the commands in order; those after a killed one are missing."""
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
                " ".join(["afdctl", *command]),
                codes[at] if at < len(codes) else code,
                _text(self.output / f"{at}.out"),
                _text(self.output / f"{at}.err"),
            )
            for at, command in enumerate(self.commands[: len(codes) + (len(codes) < len(self.commands))])
        ]


def run(command: Sequence[str], folder: Path, traced: Sequence[str] = ()) -> Ended:
    """Run one command in `folder` to its end."""
    return Started([command], folder, traced).wait()[0]


def run_all(commands: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """Run commands one after the other in one child, which is cheaper than one each."""
    return Started(commands, folder).wait()


def _attach(process: BaseProcess, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Attach strace to the child, which has stopped itself, so that calls are counted from the same one each time."""
    assert STRACE
    _wait_until(process, "State:\tT")
    strace = subprocess.Popen([STRACE, "-qq", *options, "-p", str(process.pid)], stderr=subprocess.DEVNULL)
    _wait_until(process, f"TracerPid:\t{strace.pid}\n")
    os.kill(process.pid or 0, signal.SIGCONT)
    return strace


def _wait_until(process: BaseProcess, words: str) -> None:
    """Wait until the child's status in /proc contains the words, or the child has ended."""
    patience = time.monotonic() + PATIENCE
    while process.is_alive() and words not in Path(f"/proc/{process.pid}/status").read_text():
        assert time.monotonic() < patience, words
        time.sleep(0.001)


def _work(commands: list[list[str]], folder: str, traced: bool) -> None:
    from afdctl import cli

    os.setsid()
    if traced:
        _stop()
    os.chdir(folder)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    code = 0
    for at, command in enumerate(commands):
        _say_into(Path(OUTPUT, str(at)))
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
            with open(f"{OUTPUT}/codes", "a") as codes:
                codes.write(f"{code}\n")
    os._exit(code)


def _say_into(prefix: Path) -> None:
    for descriptor, name, suffix in ((1, "stdout", ".out"), (2, "stderr", ".err")):
        file = os.open(f"{prefix}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
        # not closed: what an earlier command of this child still holds may write to it
        setattr(sys, name, open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def _stop() -> None:
    """Stop until strace, which is no parent of this process, holds it."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, any process
    os.kill(os.getpid(), signal.SIGSTOP)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def parsed(text: str) -> object:
    """The JSON value that a command printed, or the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
