"""Networks on digits that are masked on purpose, and honest ones, with the attacks that a diagnosis compares."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from afdctl.analysis import masking
from afdctl.analysis.masking import Diagnosis
from afdctl.analysis.masking_plan import stored_curves
from afdctl.data.digits import Digits
from afdctl.evaluation.plan import plan_white_box
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget, make_target
from afdctl.runs.run import Run
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS

EPSILON = 0.15
CPU = torch.device("cpu")
# what a sweep of `strong` and the on-demand attacks have, with fewer steps and queries
ATTACKED: tuple[dict[str, Any], ...] = (
    {"name": "fgsm", "epsilons": (0.0, EPSILON / 2, EPSILON)},
    {"name": "pgd_linf", "steps": 40, "rel_step": 0.1},
    {"name": "apgd_t", "steps": 20, "targets": 5},
    {"name": "deepfool", "steps": 20},
    {"name": "square", "queries": 100},
    {"name": "noise", "samples": 20},
    {"name": "surrogate", "steps": 20, "epochs": 5},
)


class Changed(nn.Module):
    """A network with changed images and logits."""

    def __init__(
        self, network: nn.Module, images: Callable[[Tensor], Tensor], logits: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.network, self.images, self.logits = network, images, logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.network(self.images(x)))


class Flipped(torch.autograd.Function):
    """Turns the gradient around, as an "obfuscated" layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class DeadReLU(torch.autograd.Function):
    """A ReLU whose gradient is zero everywhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 0 * gradient


class Layers(nn.Module):
    """A network with another activation in place of its ReLUs."""

    def __init__(self, network: nn.Sequential, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.activation = network, activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.network:
            x = self.activation(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x


class ObfuscatedNorm(nn.Module):
    """Divides the logits by a power of the feature norm, whose gradient leads attacks on the cross-entropy astray."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.features, self.head = network[:-1], network[-1]

    def forward(self, x: Tensor) -> Tensor:
        z = self.features(x)
        logits: Tensor = self.head(z) / z.norm(dim=1, keepdim=True) ** 4
        return logits


def saturated(z: Tensor) -> Tensor:
    top = z.topk(2, 1).values
    return (50 * (z - top.mean(1, keepdim=True))).clamp(-1, 1)


def winners(a: Tensor) -> Tensor:
    values = a.flatten(1)
    smallest = values.topk(max(1, values.shape[1] // 10), 1).values[:, -1:]
    return (values * (values >= smallest)).view_as(a)


def same(x: Tensor) -> Tensor:
    return x


MASKS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "logits x 100": lambda net: Changed(net, same, lambda z: 100 * z),
    "logits x 0.001": lambda net: Changed(net, same, lambda z: 0.001 * z),
    "quantised input": lambda net: Changed(net, lambda x: (7 * x).round() / 7, same),
    "input noise": lambda net: Changed(net, lambda x: x + 0.1 * torch.randn_like(x), same),
    "softmax output": lambda net: Changed(net, same, lambda z: z.softmax(1)),
    "dead ReLU": lambda net: Layers(net, DeadReLU.apply),
    "obfuscated norm": ObfuscatedNorm,
    "saturated": lambda net: Changed(net, same, saturated),
    "rounded logits": lambda net: Changed(net, same, torch.round),
    "flipped gradient": lambda net: Changed(net, Flipped.apply, same),
}


def plain(width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * width, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


@lru_cache
def digits() -> Any:
    return Digits().load([])


def attacked(network: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    x_adv = (x + EPSILON * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(4):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(network(x_adv)), x_adv)
        x_adv = torch.min(torch.max(x_adv.detach() + 0.6 * EPSILON * gradient.sign(), x - EPSILON), x + EPSILON)
        x_adv = x_adv.clamp(0, 1)
    return x_adv


@lru_cache
def trained(method: str, epochs: int = 12) -> nn.Sequential:
    """Train a tiny network: `natural`, `at`, `trades`, or `kwta` with k-winners-take-all."""
    with torch.random.fork_rng():
        network = plain()
        model = Layers(network, winners) if method == "kwta" else network
        x_all, y_all = digits().train.x / 255, digits().train.y
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x_all)).split(64):
                x, y = x_all[rows], y_all[rows]
                if method == "at":
                    loss = cross_entropy(model(attacked(model, x, y, lambda z, y=y: cross_entropy(z, y))), y)
                elif method == "trades":
                    p = model(x).softmax(1).detach()
                    x_adv = attacked(model, x, y, lambda z, p=p: kl_div(z.log_softmax(1), p, reduction="sum"))
                    z = model(x)
                    kl = kl_div(model(x_adv).log_softmax(1), z.softmax(1), reduction="batchmean")
                    loss = cross_entropy(z, y) + 4 * kl
                else:
                    loss = cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval().requires_grad_(False)


def certified() -> nn.Module:
    """A linear classifier on pixels: its exact radius in any norm is |margin| / ||w||, so it masks nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        x, y = digits().train.x / 255, digits().train.y
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(150):
            loss = cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def target_of(network: nn.Module, runs: Path, name: str) -> EvaluationTarget:
    run = Run.create(runs, name, None, {"kind": "external", "model_digest": name, "dataset": "digits"}, name=name)
    run.open_journal().close()
    return make_target(run, network, digits(), CPU, digest=name, load=digits)


def configs() -> tuple[AttackConfig, ...]:
    return tuple(ATTACKS[values["name"]](**{"epsilons": (0.0, EPSILON), **values}) for values in ATTACKED)


def diagnosed(network: nn.Module, runs: Path, name: str, n: int = 100) -> Diagnosis:
    """Attack the first images of digits, and judge the stored results."""
    target = target_of(network, runs, name)
    suite = Suite("masking", configs())
    tasks = plan_white_box([target], lambda _: suite, seed=0, choose=lambda split_n: subset(split_n, n))
    SweepRunner(tasks, suite="masking", batch_size=n).run()
    (diagnosis,) = masking.diagnose(target.run, stored_curves(target), target.check)
    return diagnosis


def subset(split_n: int, n: int) -> Any:
    from afdctl.data.subset import Subset

    return Subset.of(split_n, limit=n)
