"""Measure what several workers of Ray, and several processes of a training, gain on this machine.

    python benchmarks/speed_up.py --workers 2 --folder /tmp/speed_up

It trains digits and sweeps one of the runs: one after the other, then in workers of `--ray local`; then one training on
one process and on `--nproc`. Every process has one thread. The machine must have that many idle cores.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import typer

from afdctl.journal import read_rows
from afdctl.runs.run import Run

AFDCTL = [sys.executable, "-m", "afdctl"]
TRAINING = ["--set", "validation.limit=64", "--set", "test.limit=64", "--device", "cpu"]
ATTACKS = ["--attacks", "pgd_linf,apgd_ce", "--epsilons", "0,0.05,0.1", "--batch-size", "40", "--device", "cpu"]


def run(*arguments: str) -> float:
    """Run a command on one thread, with its messages on stderr; return its seconds."""
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*AFDCTL, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def span(runs: list[Run], first: str, last: str) -> float:
    """Return the seconds from the first row of an event to the last row of another one, without start-up."""
    rows = [row for run in runs for row in read_rows(run.journal_path, events=(first, last))]
    begins, ends = ([row["t"] for row in rows if row["event"] == event] for event in (first, last))
    return float(max(ends) - min(begins))


def show(what: str, workers: int, alone: tuple[float, float], together: tuple[float, float]) -> None:
    """Print seconds with one and several workers; each pair is without start-up, and of the whole command."""
    for name, one, several in zip(("work", "command"), alone, together, strict=True):
        typer.echo(f"{what:8} {name:8} 1: {one:7.1f} s   {workers}: {several:7.1f} s   speed-up {one / several:.2f}")


def main() -> None:
    """Measure the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/speed_up"))
    parser.add_argument("--recipe", default="digits_at")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, default=360, help="images of the sweep")
    chosen = parser.parse_args()
    if chosen.folder.exists():
        parser.error(f"{chosen.folder} exists; remove it, as finished work would take no time")
    workers, folder = chosen.workers, chosen.folder
    # as many tasks at once as workers
    ray = ["--ray", "local", "--cpus-per-task", str((os.cpu_count() or 1) / workers)]
    length = ["--set", f"train.epochs={chosen.epochs}", "--set", "train.milestones=[]", *TRAINING]
    grid = ["train", chosen.recipe, *length, "--grid", f"seed={','.join(map(str, range(2 * workers)))}", "--runs"]

    seconds = [run(*grid, str(folder / "grid-1")), run(*grid, str(folder / "grid-ray"), *ray)]
    spans = [span(Run.all(folder / name), "run", "end") for name in ("grid-1", "grid-ray")]
    show("grid", workers, (spans[0], seconds[0]), (spans[1], seconds[1]))

    targets = [Run.all(folder / name)[0] for name in ("grid-1", "grid-ray")]
    sweep = [*ATTACKS, "--limit", str(chosen.limit)]
    seconds = [run("sweep", str(targets[0].path), *sweep), run("sweep", str(targets[1].path), *sweep, *ray)]
    spans = [span([target], "sweep", "sweep_end") for target in targets]
    show("sweep", workers, (spans[0], seconds[0]), (spans[1], seconds[1]))

    speeds = []
    for count in (1, workers):
        name = f"nproc-{count}"
        options = ["--nproc", str(count)] if count > 1 else ["--no-tui"]
        run("train", chosen.recipe, *length, "--name", name, "--runs", str(folder), *options)
        rows = list(read_rows(Run(folder / name).journal_path, events=("step",)))
        # the first half has the start
        speeds.append(median(row["images_per_s"] for row in rows[len(rows) // 2 :]))
    shown = "   ".join(f"{count}: {speed:.0f} images/s" for count, speed in zip((1, workers), speeds, strict=True))
    typer.echo(f"--nproc  training {shown}   speed-up {speeds[1] / speeds[0]:.2f}")


if __name__ == "__main__":
    main()
