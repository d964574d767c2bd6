"""Trainings on several processes of this machine, for tests: `python -m tests.training.processes COMMAND`."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import afdctl
from afdctl import registry
from afdctl.models import precision
from afdctl.training.distributed import Processes, join
from tests.conftest import short

ROOT = Path(afdctl.__file__).parents[1]
# without random numbers that each process draws for itself
SAME = ["attack.random_start=false", "data.augment=none", "train.report_every=7", "model.encoder=resnet18_mnist"]


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    names = {"MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": f"test-{port}"}
    return {**names, **{name: str(number) for name, number in numbers.items()}}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return int(sock.getsockname()[1])


def begin(size: int, *arguments: str, **more: str) -> list[subprocess.Popen[str]]:
    """Start `python -m ...` on `size` processes."""
    port, base = free_port(), os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=base | environment(rank, size, port),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


def end(processes: list[subprocess.Popen[str]], timeout: float = 300) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each process."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def recipe_of(defense: str, *overrides: str) -> Any:
    """A short recipe of a defense whose step has no random numbers."""
    needed = registry.describe(registry.DEFENSES, defense).adversary
    attack = [f"attack.name={needed or 'pgd'}"]
    # KL has no gradient at x itself, where the attack starts
    name = "digits_trades" if defense == "trades" else "digits_wgan"
    named = [] if defense in ("trades", "afd") else [f"defense.name={defense}"]
    return short(name, *SAME, *attack, *named, "train.batch_size=60", "data.train_limit=601", *overrides)


def trained_weights(defense: str, steps: int, processes: Processes, *overrides: str) -> dict[str, torch.Tensor]:
    """Train a defense for some steps; the weights and buffers of all its modules."""
    from afdctl.journal.discarding import DiscardingJournal
    from afdctl.runs.run import Run
    from afdctl.training.run_data import load_dataset
    from afdctl.training.trainer import Trainer

    recipe = recipe_of(defense, *overrides)
    # in float64: in float32, rounding alone moves the weights of these networks by 1 within 50 steps
    torch.set_default_dtype(torch.float64)
    precision.DTYPES["float32"] = torch.float64
    trainer = Trainer(
        run=Run(Path("nowhere")),
        recipe=recipe,
        dataset=load_dataset(recipe.data, None),
        device=torch.device("cpu"),
        journal=DiscardingJournal(),
        processes=processes,
    )
    trainer.network.train()
    try:
        for _ in range(steps):
            trainer.train_step()
        trainer.flush_metrics()
    finally:
        torch.set_default_dtype(torch.float32)
        precision.DTYPES["float32"] = torch.float32
    states = {name: part.state_dict() for name, part in trainer.defense.modules.items()}
    if trainer.ema:
        states["ema"] = trainer.ema.network.state_dict()
    return {
        f"{name}.{key}": value.clone()
        for name, state in states.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def save_weights(folder: Path, defenses: list[str], steps: int, overrides: list[str]) -> None:
    """Write the weights that each process has after the same steps of each defense."""
    with join("cpu") as (processes, _):
        for defense in defenses:
            weights = trained_weights(defense, steps, processes, *overrides)
            torch.save(weights, folder / f"{defense}-{processes.size}-{processes.rank}.pt")


def main(commands: Mapping[str, Callable[..., None]]) -> None:
    command, folder, defenses, steps, *overrides = sys.argv[1:]
    commands[command](Path(folder), defenses.split(","), int(steps), overrides)


if __name__ == "__main__":
    main({"weights": save_weights})
