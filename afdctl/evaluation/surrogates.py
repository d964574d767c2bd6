"""The plain network that the attack `surrogate` distils from a target: made once, and kept in the target's run."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from afdctl.attacks.base import Model
from afdctl.attacks.surrogate import BATCH_SIZE, DISTILLATION_VERSION, distil, plain_network, train_step
from afdctl.data.base import ImageTensors
from afdctl.data.loader import as_floats
from afdctl.errors import AfdctlError
from afdctl.evaluation.outputs import CHECKED_IMAGES
from afdctl.evaluation.plan import Task, make_key
from afdctl.journal import JournalCache, Row
from afdctl.runs import shards

# seconds of a training step are the fastest of so many
TIMED_STEPS = 3


def load(task: Task) -> nn.Module:
    """Load the surrogate of a task's target from its run. Error: AfdctlError where there is none."""
    target = task.source
    row = find(task, JournalCache.of(target.run.journal_path))
    if row is None:
        raise AfdctlError(f"{target.run.path}: the surrogate of {task.spec.title} is not there; repeat the command")
    network = plain_network(tuple(target.split.x.shape[1:]), target.classes)
    arrays = shards.read(target.run, row["shard"])
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network.to(target.split.x.device).eval().requires_grad_(False)


def make_exist(task: Task, model: Model, append: Callable[..., None]) -> None:
    """Distil the surrogate of a task's target unless its run has it; `append` writes a row of the journal.

    `model` is the target as attacks call it.
    """
    target = task.source
    if find(task, JournalCache.of(target.run.journal_path)):
        return
    started = time.monotonic()
    x = training_images(task)
    settings = _settings(task)
    network = distil(
        model, x, epochs=settings["epochs"], noise=settings["noise"], seed=task.seed, classes=target.classes
    )
    arrays = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    append(
        "surrogate",
        key=key_of(task),
        checkpoint=target.digest,
        data=target.data_digest,
        epochs=settings["epochs"],
        images=len(x),
        agreement=_agreement(model, network, as_floats(target.split.x[:CHECKED_IMAGES])),
        seconds=round(time.monotonic() - started, 3),
        # before its row: the journal must never name a file that was not written
        shard=shards.write(target.run, "surrogate", arrays),
    )


def find(task: Task, reader: JournalCache) -> Row | None:
    """Return the journal's row of a task's surrogate, if its weights are intact."""
    key = key_of(task)
    rows = [row for row in reader.of_event("surrogate") if row["key"] == key]
    return next((row for row in reversed(rows) if shards.intact(task.source.run, row["shard"])), None)


def key_of(task: Task) -> str:
    """Return the key of a task's surrogate: equal for equal ones."""
    target = task.source
    parts = [DISTILLATION_VERSION, target.digest, target.data_digest, task.seed, task.precision, _settings(task)]
    return make_key(parts)


def training_images(task: Task) -> Tensor:
    """Return the images (n, c, h, w) that a task's surrogate is trained on: the first ones of a random order.

    A target without training images, such as a module in a notebook, answers for the test images.
    """
    target, most = task.source, _settings(task)["images"]
    split = target.load_training() if target.load_training else ImageTensors(target.split.x.cpu(), target.split.y.cpu())
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(task.seed))
    return split.x if len(split) <= most else split.x[order[:most]]


def estimate_seconds(task: Task, forward: float) -> float:
    """Estimate the time of a task's distillation, given the seconds of a forward pass of one sample."""
    target, settings = task.source, _settings(task)
    if find(task, JournalCache.of(target.run.journal_path)):
        return 0.0
    x = as_floats(target.split.x[:BATCH_SIZE])
    network = plain_network(tuple(x.shape[1:]), target.classes).to(x.device)
    optimizer = torch.optim.Adam(network.parameters())
    answers = torch.zeros(len(x), target.classes, device=x.device)
    seconds = []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        train_step(lambda _: answers, network, optimizer, x)
        seconds.append(time.perf_counter() - started)
    return len(training_images(task)) * float(settings["epochs"]) * (forward + min(seconds) / len(x))


def _settings(task: Task) -> dict[str, Any]:
    return {name: getattr(task.spec, name) for name in ("epochs", "images", "noise")}


def _agreement(model: Model, network: nn.Module, x: Tensor) -> float:
    """Return the share of images x (n, c, h, w) that both networks give the same class."""
    with torch.no_grad():
        return float((model(x).argmax(1) == network(x).argmax(1)).double().mean())
