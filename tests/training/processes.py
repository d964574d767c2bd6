"""Trainings on several processes of this machine, for tests."""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

import afdctl
from afdctl import allreduce, registry
from afdctl.data import Dataset
from afdctl.journal.discarding import DiscardingJournal
from afdctl.models import precision
from afdctl.models.sync_batch_norm import average_running_statistics
from afdctl.recipe import load
from afdctl.runs.run import Run
from afdctl.training.distributed import Processes, join
from afdctl.training.run_data import load_dataset
from afdctl.training.trainer import Trainer

ROOT = Path(afdctl.__file__).parents[1]
OWN_DEFENSE = Path(__file__).with_name("own_defense.py")
# a batch of 24 images and one of 7, whose parts differ in size
SMALL = [
    *("model.encoder=wrn-10-1", "data.train_limit=31", "train.batch_size=24", "train.epochs=100"),
    *("train.milestones=[]", "train.ema_decay=0.9", "train.report_every=7"),
    *("attack.steps=2", "attack.precision=float32"),
]
# rounding grows with the learning rate: with 0.1, to 1e-6 within 20 steps
SLOW_AFD = ["defense.lr_C=0.01", "defense.lr_D=0.01", "defense.lr_F=0.01"]
VARIANTS: dict[str, tuple[str, list[str]]] = {
    **{
        name: ("digits_at", [f"defense.name={name}", "defense.lr_C=0.01", f"attack.name={known.adversary or 'pgd'}"])
        for name, known in registry.DEFENSES.items()
    },
    "afd": ("digits_wgan", [*SLOW_AFD, "defense.gp_weight=1.0", "defense.awp_gamma=0.01"]),
    "afd sequential": ("digits_dcgan", [*SLOW_AFD, "defense.update=sequential"]),
    "afd joint": ("digits_wgan", [*SLOW_AFD, "defense.batch_statistics=joint"]),
    # fewer than two images for each of three processes in the second batch
    "few images": ("digits_at", ["defense.lr_C=0.01", "data.train_limit=28"]),
    "he": ("digits_at", ["defense.lr_C=0.01", "defense.margin=0.2", "model.cosine_scale=15"]),
    "n_fgsm": ("digits_at", ["defense.lr_C=0.01", "attack.name=n_fgsm", "attack.steps=1"]),
    "user": ("digits_at", ["defense.lr_C=0.01", f"defense.name={OWN_DEFENSE}:Both"]),
}


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    names = {"MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": f"test-{port}"}
    return {**names, **{name: str(number) for name, number in numbers.items()}}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return int(sock.getsockname()[1])


def begin(size: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """Start `python -m afdctl train ...` on `size` processes."""
    port = free_port()
    return [start("-m", "afdctl", "train", *arguments, **environment(rank, size, port)) for rank in range(size)]


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start Python with these arguments and further variables of the environment."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process has started, in order."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(pid) for pid in found.stdout.split()]


def end(processes: list[subprocess.Popen[str]], timeout: float = 300) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each process."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


@cache
def digits() -> Dataset:
    return load_dataset(load("digits_at").data, None)


def train_variants(folder: Path, variants: Iterable[str], sizes: Iterable[int], steps: int, *overrides: str) -> None:
    """Train on each number of processes, at the same time; every process saves its weights to the folder."""
    # once for all copies; the compiler is imported by synchronised BatchNorm
    digits()
    import_module("torch._dynamo")
    run_processes((save_weights, (folder, size, list(variants), steps, overrides)) for size in sizes)


def run_processes(works: Iterable[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Run functions of a folder, a number of processes and more in so many processes, with torchrun's variables."""
    # a copy of this process needs no import of torch; torch has threads, which a copy lacks, only where it has GPUs
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    started: list[BaseProcess] = []
    for work, (folder, size, *more) in works:
        port = free_port()
        for rank in range(size):
            arguments = (folder, environment(rank, size, port), *more)
            started.append(context.Process(target=work, args=arguments))
            started[-1].start()
    for process in started:
        process.join()
    assert not any(process.exitcode for process in started)


def weights_of(folder: Path, variant: str, size: int) -> list[dict[str, Tensor]]:
    return [torch.load(folder / f"{variant}-{size}-{rank}.pt") for rank in range(size)]


def save_shared(folder: Path, variables: dict[str, str]) -> None:
    """Save a tensor that was another one in each process, and the running mean of a frozen layer."""
    os.environ.update(variables)
    with join("cpu") as (processes, _):
        own, layer = torch.full((2,), float(processes.rank)), torch.nn.BatchNorm1d(2).eval()
        torch.nn.init.constant_(layer.running_mean, 0.1)
        allreduce.copy_from_first([], [own])
        average_running_statistics([layer])
        torch.save((own, layer.running_mean), folder / f"{processes.rank}.pt")


def save_weights(
    folder: Path, variables: dict[str, str], variants: list[str], steps: int, overrides: tuple[str, ...]
) -> None:
    os.environ.update(variables)
    with join("cpu") as (processes, _), float64(), equal_draws():
        for variant in variants:
            weights = trained_weights(variant, steps, processes, *overrides)
            torch.save(weights, folder / f"{variant}-{processes.size}-{processes.rank}.pt")


def trained_weights(variant: str, steps: int, processes: Processes, *overrides: str) -> dict[str, Tensor]:
    """The weights and buffers of all modules after some steps."""
    name, values = VARIANTS[variant]
    recipe = load(name, [*SMALL, *values, *overrides])
    trainer = Trainer(
        run=Run(Path("nowhere")),
        recipe=recipe,
        dataset=digits(),
        device=torch.device("cpu"),
        journal=DiscardingJournal(),
        processes=processes,
    )
    trainer.network.train()
    for _ in range(steps):
        trainer.train_step()
    trainer.flush_metrics()
    modules = trainer.defense.modules | ({"ema": trainer.ema.network} if trainer.ema else {})
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }


@contextmanager
def float64() -> Iterator[None]:
    """In float32, steps along the signs of gradients make differences of 1e-3 from rounding within 50 steps."""
    torch.set_default_dtype(torch.float64)
    precision.DTYPES["float32"] = torch.float64
    yield


@contextmanager
def equal_draws() -> Iterator[None]:
    """Draw the same noise for every image, so that it does not depend on which process has the image."""

    def of_one_image(draw: Any) -> Any:
        def drawn(shape: torch.Size, generator: Generator, **options: Any) -> Tensor:
            one: Tensor = draw(shape[1:], generator=Generator().manual_seed(0), **options)
            return one.expand(shape).clone()

        return drawn

    torch.rand, torch.randn = of_one_image(torch.rand), of_one_image(torch.randn)
    yield
