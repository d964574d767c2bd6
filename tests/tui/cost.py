"""The cost of the dashboard: CPU, output, start time and memory. `python -m tests.tui.cost [LINES]` takes some minutes.

Throughput is measured in paired windows: the dashboard of a training is paused and continued by turns, and each window
with it is compared with its two neighbours without it. On a shared machine, unpaired runs are not comparable.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from afdctl.journal import Journal, read_tail
from afdctl.runs.run import Run
from tests.tui import journals
from tests.tui.screenshot import Terminal

SIZE = (150, 44)
COLOURS = {"COLORTERM": "truecolor"}
WINDOW, WINDOWS = 1.5, 40
OVERRIDES = (
    "train.epochs=5000",
    "train.milestones=[]",
    "train.report_every=1",
    "train.save_minutes=60",
    "data.holdout=8",
)
WORKLOADS = {
    "tiny, 4 Hz": ("digits_nt", "model.width=4", "train.batch_size=32", "validation.steps=1"),
    "conv, 4 Hz": ("digits_wgan", "attack.steps=2", "validation.steps=1"),
}


def long_journal(folder: Path, steps: int, planned: int) -> Path:
    """Write a run of `steps` steps with rows as large as real ones."""
    run = journals.RUN | {"epochs": 60, "steps_per_epoch": planned // 60, "steps_total": planned}
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    Run(folder).complete({})
    with (folder / "events.ndjson").open("wb") as file:
        file.write(journals.line(run))
        for number in range(1, steps + 1):
            row = journals.step(number % 997 + 1, L_C=2.2 / (1 + number / 5000) + (number * 7919 % 101) / 700)
            row |= {"step": number, "epoch": number * 60 // planned + 1, "t": journals.BEGIN + number / 160}
            file.write(journals.line(row))
    return folder


class Watched:
    """A dashboard on a pseudo terminal; a thread reads and counts its output."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal, self.open = terminal, True
        self.process = psutil.Process(terminal.process.pid)
        self.thread = threading.Thread(target=self._drain)

    def _drain(self) -> None:
        while self.open:
            self.terminal.read(0.05)

    @property
    def bytes(self) -> int:
        return len(self.terminal.written)

    @property
    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def watching(path: Path) -> Iterator[Watched]:
    with Terminal("watch", "--read-only", str(path), folder=path, size=SIZE, **COLOURS) as terminal:
        watched = Watched(terminal)
        watched.thread.start()
        try:
            yield watched
        finally:
            watched.open = False
            watched.thread.join()


def load(folder: Path, seconds: float = 20.0) -> dict[str, float]:
    """Measure percent of a core and kB/s of output for four charts of 100,000 points that grow by 160 a second."""
    path = long_journal(folder / "load", 100_000, 120_000)
    with Journal.open(path / "events.ndjson") as journal, growing(journal), watching(path) as watched:
        settle(watched)
        began, cpu, written = time.monotonic(), watched.cpu, watched.bytes
        time.sleep(seconds)
        took = time.monotonic() - began
        return {"cpu": 100 * (watched.cpu - cpu) / took, "kB_per_s": (watched.bytes - written) / took / 1000}


@contextmanager
def growing(journal: Journal) -> Iterator[None]:
    """Write 160 steps a second."""
    done = threading.Event()

    def write() -> None:
        number = 100_000
        while not done.wait(0.25):
            rows = [
                journals.step(step % 997 + 1, step=step, epoch=step // 2000 + 1, t=time.time())
                for step in range(number + 1, number + 41)
            ]
            journal.extend(rows)
            number += 40

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def settle(watched: Watched) -> float:
    """Wait until the journal has been read; return how many seconds that took."""
    began, calm, before = time.monotonic(), 0, watched.cpu
    while calm < 3:
        time.sleep(1.0)
        now = watched.cpu
        calm, before = (calm + 1 if 0 < now - before < 0.2 else 0), now
    return time.monotonic() - began - calm


def attach(folder: Path, lines: int) -> dict[str, float]:
    """Measure the seconds to the first frame and until all is read, and the memory then."""
    path = long_journal(folder / "attach", lines, lines * 6 // 5)
    size = (path / "events.ndjson").stat().st_size
    firsts = []
    for _ in range(3):
        began = time.monotonic()
        with watching(path) as watched:
            while b"L_F" not in watched.terminal.written:
                time.sleep(0.005)
            firsts.append(time.monotonic() - began)
            first_cpu = watched.cpu
    with watching(path) as watched:
        whole, memory = settle(watched), watched.process.memory_info().rss
    return {
        "first_s": min(firsts),
        "first_cpu_s": first_cpu,
        "whole_s": whole,
        "memory_MB": memory / 1e6,
        "journal_MB": size / 1e6,
    }


def throughput(folder: Path, recipe: str, *overrides: str) -> dict[str, float]:
    """Measure steps per second with the dashboard relative to without, in pairs of neighbouring windows."""
    words = [word for value in (*OVERRIDES, *overrides) for word in ("--set", value)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "afdctl", "train", recipe, "--detach", "--name", recipe, "--runs", str(folder), *words],
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    path = folder / recipe
    pid = int((path / "events.ndjson.lock").read_text())
    try:
        with watching(path) as watched:
            watched.terminal.wait_for(lambda: b"L_C" in watched.terminal.written)
            time.sleep(3)
            rates = []
            for window in range(WINDOWS + 1):
                os.kill(watched.process.pid, signal.SIGSTOP if window % 2 == 0 else signal.SIGCONT)
                before, began = last_step(path), time.monotonic()
                time.sleep(WINDOW)
                rates.append((last_step(path) - before) / (time.monotonic() - began))
            os.kill(watched.process.pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGKILL)
    ratios = [2 * rates[at] / (rates[at - 1] + rates[at + 1]) for at in range(1, WINDOWS, 2)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"ratio": middle, "low": low, "high": high, "steps_per_s": statistics.median(rates)}


def last_step(path: Path) -> int:
    """Return the last step in the journal."""
    return max(row["step"] for _, row in read_tail(path / "events.ndjson", 8192) if row["event"] == "step")


def main() -> None:
    """Measure everything and print one JSON object per line."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = {"load": load(folder), "attach": attach(folder, lines)}
        for workload, overrides in WORKLOADS.items():
            report[workload] = throughput(folder, *overrides)
    for name, metrics in report.items():
        rounded = {key: round(value, 3) for key, value in metrics.items()}
        sys.stdout.write(json.dumps({"measured": name, "load_average": os.getloadavg()[0], **rounded}) + "\n")


if __name__ == "__main__":
    main()
