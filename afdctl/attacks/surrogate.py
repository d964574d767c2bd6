"""Transfer from a surrogate, a plain network that is distilled from the target's own answers.

Practical black-box attacks (Papernot et al. 2017, arXiv:1602.02697), with the step of MIM, whose images transfer best
(Dong et al. 2018, arXiv:1710.06081). Of the target it uses nothing but the predicted class, so it works where gradients
vanish or mislead, and where the margin is flat, which stops Square as well.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from afdctl.attacks.base import (
    NOT_FOUND,
    AttackResult,
    Loss,
    Model,
    cross_entropy_per_sample,
    is_misclassified,
    margin,
)
from afdctl.attacks.gradient_loop import run_gradient_attack, step_length
from afdctl.attacks.mim import MomentumStep
from afdctl.attacks.norms import random_in_ball
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.data.loader import as_floats

# part of the keys of distilled networks and of their attacks' cells: raise it when distillation changes
DISTILLATION_VERSION = 1
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
# largest side of the maps that the dense layers see
DENSE_SIDE = 8


def surrogate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str = "linf",
    steps: int,
    epochs: int,
    noise: float,
    images: int,
    substitute: Model | None = None,
) -> AttackResult:
    """Attack `substitute` at x (n, c, h, w), and try the images on the model: x, then one for each loss.

    Without a substitute, one is distilled from the model's answers on x itself (see `distil`).
    """
    result = AttackResult.empty(x)
    if not len(x):
        return result
    logits = _try_images(model, result, torch.arange(len(x), device=x.device), x, y, query=0)
    if substitute is None:
        classes = logits.shape[1]
        substitute = distil(model, x[:images], epochs=epochs, noise=noise, seed=rng.seed, classes=classes)
        result.forwards[:images] += epochs
    answer = substitute

    def surrogate_logits(iterate: Tensor) -> Tensor:
        return answer(iterate.float()).to(iterate)

    candidates: tuple[tuple[Loss, bool], ...] = ((cross_entropy_per_sample, False), (margin, True))
    for query, (loss, random_start) in enumerate(candidates, 1):
        rows = (~result.fooled).nonzero()[:, 0]
        if not len(rows):
            break
        at, labels = x[rows], y[rows]
        start = random_in_ball(at, epsilon, norm, rng.select(rows)) if random_start else at
        length = step_length(epsilon, steps, None)
        rule = MomentumStep(norm=norm, epsilon=epsilon, step_size=length, decay=1.0, x=at)
        found, _ = run_gradient_attack(
            surrogate_logits, at, labels, start, rule, steps=steps, early_stop=False, loss=loss
        )
        _try_images(model, result, rows, found.x_adv, labels, query=query)
    return result


def _try_images(model: Model, result: AttackResult, rows: Tensor, x_adv: Tensor, y: Tensor, *, query: int) -> Tensor:
    """Record in the rows (m,) whether images x_adv (m, c, h, w) fool the model, and return its logits."""
    with torch.no_grad():
        logits = model(x_adv)
    result.x_adv[rows] = x_adv
    result.forwards[rows] += 1
    result.first_success_step[rows] = torch.where(is_misclassified(logits, y), query, NOT_FOUND)
    return logits


def distil(model: Model, x: Tensor, *, epochs: int, noise: float, seed: int, classes: int) -> nn.Module:
    """Train a plain network on the classes that the model answers for x (n, c, h, w), and return it.

    x is uint8, or floats in [0, 1]. Every other image of a batch gets uniform noise of at most `noise`, so that the
    network learns the model's boundaries around the images too. The model answers each image once an epoch.
    """
    device = _device_of(model, x)
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = plain_network(tuple(x.shape[1:]), classes).to(device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, epochs * -(-len(x) // BATCH_SIZE))
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH_SIZE):
            images = as_floats(x[rows.to(x.device)])
            drawn = noise * (2 * torch.rand(images.shape, generator=generator) - 1)
            drawn[::2] = 0
            train_step(model, network, optimizer, (images + drawn.to(images)).clamp(0, 1).to(device))
            schedule.step()
    return network.eval().requires_grad_(False)


def train_step(model: Model, network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> None:
    """Move the network towards the model's classes of images (m, c, h, w)."""
    with torch.no_grad():
        answers = model(images)
    # an image with a NaN logit has no class
    answered = ~answers.isnan().any(1)
    with torch.enable_grad():
        logits = network(images[answered].float())
        loss = cross_entropy(logits, answers[answered].argmax(1), reduction="sum") / max(len(logits), 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def plain_network(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a small convolutional network for images of a shape (c, h, w), without normalisation."""
    channels, *sides = shape
    layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU()]
    width = 32
    while width != 64 or max(sides) > DENSE_SIDE:
        layers += [nn.Conv2d(width, 64, 3, stride=2, padding=1), nn.ReLU()]
        width, sides = 64, [-(-side // 2) for side in sides]
    features = width * sides[0] * sides[1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, classes))


def _device_of(model: Model, x: Tensor) -> torch.device:
    """Return the device of a model that is a module, or has one; else that of x."""
    network = getattr(model, "network", model)
    parameters = network.parameters() if isinstance(network, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), x.device)
