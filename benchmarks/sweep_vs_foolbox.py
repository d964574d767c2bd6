"""Time a sweep against the way of the authors' published notebook, batch by batch in turn in one process.

The notebook calls foolbox with its list of epsilons, 0 among them, on every image and on the network as it is (it also
computes gradients of the parameters), and AutoAttack again for each epsilon. Written from a description of the
notebook; no line of it was used. MIM is not in the notebook. The paper used AdverTorch's, whose release can no longer
be imported, so it is implemented here.
"""

import json
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from afdctl.cli.console import TableConsole
from afdctl.cli.options import dataset_name, split_names
from afdctl.data.loader import as_floats
from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError, RecipeError
from afdctl.evaluation import plan, target
from afdctl.evaluation.batch import PreparedModel, attack_batch
from afdctl.evaluation.cells import PartialResults
from afdctl.evaluation.plan import Task
from afdctl.evaluation.verify import predict
from afdctl.runs.run import Run
from afdctl.suites import load
from afdctl.suites.attack_config import AttackConfig
from afdctl.training.setup import choose_device

# (network, x, y, epsilons) -> x_adv for each epsilon
NotebookAttack = Callable[[nn.Module, Tensor, Tensor, tuple[float, ...]], list[Tensor]]


def notebook_attack(spec: AttackConfig) -> NotebookAttack:
    """Return the notebook's call for an attack of a suite."""
    if spec.name == "aa":
        return lambda network, x, y, epsilons: [auto_attack(network, x, y, epsilon, spec) for epsilon in epsilons]
    if spec.name == "mim":
        return lambda network, x, y, epsilons: [mim(network, x, y, epsilon, spec) for epsilon in epsilons]
    if spec.name not in FOOLBOX_CALLS:
        names = ", ".join(FOOLBOX_CALLS)
        raise RecipeError(f"{spec.title}: the notebook has no such attack; choose from {names}, mim and aa")
    import_foolbox()
    return lambda network, x, y, epsilons: foolbox_attack(network, x, y, epsilons, spec)


def auto_attack(network: nn.Module, x: Tensor, y: Tensor, epsilon: float, spec: Any) -> Tensor:
    """Run AutoAttack's standard evaluation at one epsilon."""
    evaluation = import_module("pyautoattack").AutoAttack
    # its hints are for readers of its log
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]):
        norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[spec.norm]
        standard = evaluation(network, norm=norm, eps=epsilon, version="standard", device=str(x.device), seed=0)
        for part in (standard.apgd, standard.apgd_targeted, standard.fab):
            part.n_iter = spec.steps
        standard.square.n_queries = spec.queries
        x_adv: Tensor = standard.run_standard_evaluation(x, y, batch_size=len(x))[0]
    return x_adv


def mim(network: nn.Module, x: Tensor, y: Tensor, epsilon: float, spec: Any) -> Tensor:
    """Run MIM at one epsilon in AdverTorch's form: gradients over their L1 norm, steps along the momentum's sign."""
    x_adv, velocity = x, torch.zeros_like(x)
    for _ in range(spec.steps):
        x_adv = x_adv.detach().requires_grad_()
        cross_entropy(network(x_adv), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
        assert x_adv.grad is not None
        gradient = x_adv.grad / x_adv.grad.abs().flatten(1).sum(1).view(-1, 1, 1, 1).clamp_min(1e-12)
        velocity = spec.decay * velocity + gradient
        step = spec.step_size or spec.attack_kwargs()["rel_step"] * epsilon
        x_adv = torch.clamp(x + (x_adv.detach() + step * velocity.sign() - x).clamp(-epsilon, epsilon), 0, 1)
    return x_adv.detach()


def foolbox_attack(
    network: nn.Module, x: Tensor, y: Tensor, epsilons: tuple[float, ...], spec: AttackConfig
) -> list[Tensor]:
    """Run foolbox's attack over its list of epsilons."""
    foolbox = import_foolbox()
    name, options = FOOLBOX_CALLS[spec.name]
    seed_global_rng()
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=x.device)
    _, clipped, _ = getattr(foolbox.attacks, name)(**options(spec))(model, x, y, epsilons=list(epsilons))
    return list(clipped)


def import_foolbox() -> Any:
    """Import foolbox, which afdctl itself does not need."""
    try:
        return import_module("foolbox")
    except ModuleNotFoundError:
        raise AfdctlError("the notebook's way needs foolbox: pip install 'foolbox>=3.3.4,<4' 'scipy<2'") from None


def seed_global_rng() -> None:
    """Make foolbox's draws repeatable; it uses global generators."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pgd_options(spec: Any) -> dict[str, Any]:
    """Return the number of steps and their size, relative or absolute."""
    return {
        "steps": spec.steps,
        "rel_stepsize": spec.attack_kwargs()["rel_step"] or 0.1,
        "abs_stepsize": spec.step_size,
    }


FOOLBOX_CALLS: Final[dict[str, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    "fgsm": ("LinfFastGradientAttack", lambda spec: {"random_start": spec.random_start}),
    "pgd_linf": ("LinfProjectedGradientDescentAttack", pgd_options),
    "pgd_l2": ("L2ProjectedGradientDescentAttack", pgd_options),
    "pgd_l1": ("L1ProjectedGradientDescentAttack", pgd_options),
    "ddn": ("DDNAttack", lambda spec: {"init_epsilon": spec.init_epsilon, "steps": spec.steps, "gamma": spec.gamma}),
    "deepfool": (
        "LinfDeepFoolAttack",
        lambda spec: {"steps": spec.steps, "candidates": spec.candidates, "overshoot": spec.overshoot},
    ),
    "cw": (
        "L2CarliniWagnerAttack",
        lambda spec: {
            "binary_search_steps": spec.binary_search_steps,
            "steps": spec.steps,
            "stepsize": spec.step_size,
            "confidence": spec.confidence,
            "initial_const": spec.initial_const,
        },
    ),
}


def measure(tasks: Sequence[Task], batch_size: int) -> dict[str, Any]:
    """Return the seconds of both ways for each attack, their ratios, and the differences of accuracy."""
    attacks = [measure_attack(task, batch_size) for task in tasks]
    return {
        "schema": "afdctl/1",
        "model": tasks[0].source.name,
        "n": tasks[0].n,
        "threads": torch.get_num_threads(),
        "attacks": attacks,
        "all": total_ratios(attacks),
        "without_aa": total_ratios([row for row in attacks if row["attack"] != "aa"]),
    }


def total_ratios(attacks: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the ratios of summed wall and CPU times."""
    return {
        clock: sum(row[clock][0] for row in attacks) / max(sum(row[clock][1] for row in attacks), 1e-9)
        for clock in ("wall", "cpu")
    }


def measure_attack(task: Task, batch_size: int) -> dict[str, Any]:
    """Measure one attack over its epsilons; `wall` and `cpu` are [afdctl's, the notebook's] seconds."""
    progress, notebook_correct = PartialResults([[]]), torch.zeros(len(task.spec.epsilons), dtype=torch.float64)
    wall, cpu = [0.0, 0.0], [0.0, 0.0]
    model, other = PreparedModel(task.source.network, lambda: None), notebook_attack(task.spec)
    for number, first in enumerate(range(0, task.n, batch_size)):
        stop = min(first + batch_size, task.n)
        index = task.subset.index[first:stop].to(task.source.split.x.device)
        x, y = as_floats(task.source.split.x[index]), task.source.split.y[index]
        ways: list[Callable[[], Any]] = [
            partial(attack_batch, task, model, x, y, index=index, keep_images=False),
            partial(count_correct, other, task, x, y),
        ]
        results: list[Any] = [None, None]
        # the order changes from batch to batch, so that a warm cache favours neither
        for way in (0, 1) if number % 2 else (1, 0):
            start, cpu_start = time.perf_counter(), time.process_time()
            results[way] = ways[way]()
            wall[way] += time.perf_counter() - start
            cpu[way] += time.process_time() - cpu_start
        progress.blocks[0].append(results[0][0])
        progress.done = stop
        notebook_correct += results[1]
    columns = progress.arrays(0)
    accuracy = [float((columns["clean"] == columns["label"]).mean()), *progress.summary(0, task)["accuracy"].values()]
    notebook_accuracy = (notebook_correct / task.n).tolist()
    differences = [a - b for a, b in zip(accuracy, notebook_accuracy, strict=True)]
    return {
        "attack": task.spec.title,
        "epsilons": list(task.spec.epsilons),
        "wall": wall,
        "cpu": cpu,
        "accuracy": accuracy,
        "notebook_accuracy": notebook_accuracy,
        "differences": [min(differences), max(differences)],
    }


def count_correct(attack: NotebookAttack, task: Task, x: Tensor, y: Tensor) -> Tensor:
    """Attack a batch in the notebook's way; return the number of correctly classified images at each epsilon."""
    network = task.source.network
    network.requires_grad_(True)
    try:
        x_adv = attack(network, x, y, task.spec.epsilons)
        return torch.stack([(predict(network, images) == y).sum() for images in x_adv]).cpu()
    finally:
        network.requires_grad_(False)
        network.zero_grad()


def print_table(report: dict[str, Any]) -> None:
    """Print seconds, ratios and differences of accuracy."""
    title = f"{report['model']}, {report['n']} images, {report['threads']} threads, against the notebook's way"
    table = Table(title=title, title_justify="left")
    for heading in ("attack", "afdctl", "notebook", "ratio", "CPU ratio", "accuracy, points"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for row in report["attacks"]:
        (seconds, notebook_seconds), (cpu, notebook_cpu) = row["wall"], row["cpu"]
        low, high = row["differences"]
        ratios = f"{seconds / notebook_seconds:.2f}", f"{cpu / notebook_cpu:.2f}"
        differences = f"{100 * low:+.1f} to {100 * high:+.1f}"
        table.add_row(row["attack"], f"{seconds:.1f}", f"{notebook_seconds:.1f}", *ratios, differences)
    for name, label in (("without_aa", "all but AutoAttack"), ("all", "all")):
        table.add_row(label, "", "", f"{report[name]['wall']:.2f}", f"{report[name]['cpu']:.2f}", "", style="bold")
    TableConsole().print(table)


def main(
    run_name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run by path or name.")] = "latest",
    attacks: Annotated[str | None, typer.Option(metavar="NAME,...", help="Only these attacks.")] = None,
    suite: Annotated[str, typer.Option(help="strong, paper-A2, paper-notebook, or a file.")] = "paper-A2",
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of test images.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time, in both ways.")] = 128,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where the data sets are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Time a sweep against the way of the authors' published notebook."""
    run = Run.find(run_name, runs)
    chosen = load.load(suite, dataset_name(run), attacks=split_names(attacks), overrides=overrides or [])
    loaded = target.load_run_target(run, "best", choose_device(device), data_dir)
    report = measure(
        plan.plan_white_box([loaded], lambda _: chosen, seed=0, choose=partial(Subset.of, limit=limit)), batch_size
    )
    typer.echo(json.dumps(report)) if as_json else print_table(report)


if __name__ == "__main__":
    try:
        typer.run(main)
    except AfdctlError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
