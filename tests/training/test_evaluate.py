"""Test accuracies on models whose adversarial examples are known."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl.data.base import ImageTensors
from afdctl.data.loader import Split
from afdctl.models.feature_classifier import build
from afdctl.recipe.defenses import AdversaryConfig
from afdctl.recipe.schema import Evaluation
from afdctl.training.evaluate import Accuracy, evaluate
from tests.attacks.linear import Linear, model_and_images

# Grey 0.4: only a thin shell of the ball around such an image fools `Shell`.
THIN = 102 / 255


class Shell(nn.Module):
    """Prefers class 1 if the single pixel is within 0.05 of 0.5, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        score = 0.05 - (x.flatten() - 0.5).abs()
        return torch.stack([torch.zeros_like(score), score], 1)


def split(x: Tensor, y: Tensor) -> Split:
    return Split(ImageTensors((255 * x).round().to(torch.uint8), y), "cpu")


def test_an_image_is_fooled_by_any_iterate():
    """Steps of 0.4 jump over the shell, so only the random start can be in it."""
    grey = torch.full((200, 1, 1, 1), THIN)
    table = Evaluation(steps=3, step_size=0.4, batch_size=200)
    labels = torch.zeros(200, dtype=torch.long)
    generator = Generator().manual_seed(1)
    accuracy = evaluate(Shell(), split(grey, labels), table, AdversaryConfig(epsilon=0.2), generator)
    starts = THIN + 0.2 * (2 * torch.rand(grey.shape, generator=generator.manual_seed(1)) - 1)
    fooled = int(((starts - 0.5).abs() < 0.05).sum())
    assert 20 < fooled < 80
    assert accuracy == Accuracy(1, pytest.approx(1 - fooled / 200), 200)


def linear() -> tuple[Linear, Split, Tensor]:
    """Return a model, 64 images of which it misclassifies the first ten, and a mask of the others."""
    model, x, _ = model_and_images()
    x = (255 * x).round() / 255
    right = torch.arange(len(x)) >= 10
    y = model(x).argmax(1)
    return model, split(x, torch.where(right, y, 1 - y)), right


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_images_are_correct_and_farther_from_the_boundary_than_epsilon(norm: str):
    model, images, right = linear()
    distances = model.distance(images.x / 255, norm)
    epsilon = distances.quantile(0.6).item()  # none is within 2 % below it, where PGD may fail
    attack = AdversaryConfig(norm=norm, epsilon=epsilon)
    accuracy = evaluate(model, images, Evaluation(batch_size=20), attack, Generator())
    robust = int((right & (distances > epsilon)).sum())
    assert 15 < robust < 26
    assert accuracy == Accuracy(54 / 64, robust / 64, 64)


def test_misclassified_images_are_never_robust(monkeypatch: pytest.MonkeyPatch):
    """This attack inverts the model's answers, so that the misclassified images become correct."""
    model, images, _ = linear()
    monkeypatch.setattr("afdctl.training.evaluate.pgd_ce", lambda twin, x, y, **knobs: 1 - x)
    assert evaluate(model, images, Evaluation(), AdversaryConfig(epsilon=0.1), Generator()) == Accuracy(54 / 64, 0, 64)


def test_a_network_in_training_is_evaluated_with_its_running_statistics():
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=4, channels=1, image_size=8, classes=10)
    x = torch.rand((100, 1, 8, 8), generator=Generator().manual_seed(1))
    for _ in range(30):
        network(x)
    images = split(x, torch.zeros(100, dtype=torch.long))
    with torch.no_grad():
        by_batch = network(images.x / 255).argmax(1)
        images.y = network.eval()(images.x / 255).argmax(1)
    assert not torch.equal(images.y, by_batch)
    network.train()
    kept = {name: value.clone() for name, value in network.named_buffers()}
    table, attack = Evaluation(batch_size=30, limit=70), AdversaryConfig(epsilon=1e-6)
    accuracy = evaluate(network, images, table, attack, Generator())
    assert accuracy == Accuracy(1, 1, 70)
    assert network.training
    assert all(torch.equal(value, kept[name]) for name, value in network.named_buffers())


def test_a_limit_takes_the_sample_that_attacks_take():
    """Here the first images are the hardest: all of them are misclassified."""
    images = split(torch.full((100, 1, 1, 1), 0.9), (torch.arange(100) < 30).long())
    chosen = np.random.RandomState(0).permutation(100)[:30]
    accuracy = evaluate(Shell(), images, Evaluation(steps=1, limit=30), AdversaryConfig(epsilon=1e-6), Generator())
    assert accuracy.acc_nat == pytest.approx((chosen >= 30).mean())


class Masked(nn.Module):
    """Prefers class 1 if the mean exceeds 0.5, in steps: PGD has no gradient, Square follows the margin."""

    def forward(self, x: Tensor) -> Tensor:
        score = (x.mean((1, 2, 3)) - 0.5).mul(1000).round() + 0 * x.sum((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_finds_what_masked_gradients_hide(norm: str):
    """Grey images whose ball crosses the boundary, and others whose ball does not."""
    images = split(torch.cat([torch.full((6, 1, 8, 8), 0.45), torch.full((4, 1, 8, 8), 0.1)]), torch.zeros(10).long())
    attack = AdversaryConfig(norm=norm, epsilon={"linf": 0.2, "l2": 1.0}[norm])
    before = torch.get_rng_state()
    pgd_only, first, second = (
        evaluate(Masked(), images, Evaluation(steps=5, square_queries=queries), attack, Generator().manual_seed(0))
        for queries in (0, 200, 200)
    )
    assert pgd_only == Accuracy(1, 1, 10)
    assert "acc_square" not in pgd_only.row()
    assert first == second
    assert first[:3] == pgd_only[:3]
    assert first.acc_square is not None
    assert 0.4 - 1e-6 < first.acc_square < {"linf": 0.41, "l2": 0.91}[norm]
    assert torch.equal(before, torch.get_rng_state())


def test_square_that_cannot_start_has_no_accuracy():
    images = split(torch.full((3, 1, 12, 12), 0.1), torch.zeros(3).long())
    attack = AdversaryConfig(norm="l2", epsilon=0.1)
    accuracy = evaluate(Masked(), images, Evaluation(square_queries=5), attack, Generator())
    assert accuracy == Accuracy(1, 1, 3, None)


def test_square_does_not_run_without_robust_images():
    model, images, _ = linear()
    accuracy = evaluate(model, images, Evaluation(square_queries=5), AdversaryConfig(epsilon=1.0), Generator())
    assert accuracy == Accuracy(54 / 64, acc_adv=0, n=64, acc_square=0, square_queries=5)


def test_square_can_be_interrupted_between_two_queries():
    calls = iter(range(20))

    def interrupt() -> None:
        if next(calls) == 15:
            raise InterruptedError

    model, images, _ = linear()
    with pytest.raises(InterruptedError):
        evaluate(model, images, Evaluation(square_queries=1000), AdversaryConfig(epsilon=0.001), Generator(), interrupt)
