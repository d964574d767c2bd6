"""Test `afdctl.attack`, `check`, `evaluate` and `load_model`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import afdctl
from afdctl.attacks.norms import lp_norm
from tests.cli.conftest import Afdctl
from tests.conftest import short, train

N = 24


class Net(nn.Module):
    """A linear model with dropout, which must be off, and a weight whose gradient must stay empty."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.9))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


@pytest.fixture
def net() -> Net:
    return Net().train()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """8-bit images that the network mostly classifies as their labels say."""
    x = torch.randint(256, (N, 1, 8, 8), generator=torch.Generator().manual_seed(1)) / 255
    with torch.no_grad():
        y = Net().eval()(x).argmax(1)
    y[:2] = (y[:2] + 1) % 10
    return x, y


@pytest.fixture(scope="module")
def trained(folder: Path) -> afdctl.LoadedRun:
    return afdctl.load_run(train(short("digits_nt"), folder / "runs", name="nt"))


@pytest.mark.parametrize(
    ("attack", "settings"), [("pgd_linf", {"steps": 5}), ("ddn", {}), ("aa", {"steps": 2, "queries": 5, "norm": "l2"})]
)
def test_an_attack_on_any_module_is_verified(net: Net, images: tuple[Tensor, Tensor], attack: str, settings: dict):
    x, y = images
    result = afdctl.attack(net, x, y, attack, epsilon="8/255" if attack == "pgd_linf" else 0.3, **settings)
    norm, epsilon = ("linf", 8 / 255) if attack == "pgd_linf" else ("l2", 0.3)
    assert isinstance(result, afdctl.AttackResult)
    with torch.no_grad():
        prediction = net.eval()(result.x_adv).argmax(1)
    distance = lp_norm(result.x_adv - x, norm)
    assert (distance <= epsilon * (1 + 1e-5)).all()
    assert 0 <= result.x_adv.min() <= result.x_adv.max() <= 1
    assert result.prediction.equal(prediction)
    assert result.success.equal(prediction != y)
    assert result.distance[:2].tolist() == [0, 0]
    assert result.distance[~result.success].isinf().all()
    fooled = result.success & (result.distance > 0)
    assert result.distance[fooled].equal(distance[fooled])
    assert result.clean_accuracy == pytest.approx(1 - 2 / N)
    assert result.robust_accuracy == pytest.approx((prediction == y).double().mean().item())


def test_a_module_is_left_as_it_was(net: Net, images: tuple[Tensor, Tensor]):
    random_state = torch.get_rng_state()
    x, y = images
    afdctl.attack(net, x.double(), y.to(torch.uint8), "fgsm", epsilon=0.1)
    afdctl.check(net, x, y)
    afdctl.evaluate(net, attacks="fgsm", epsilons=[0.1], data=images)
    assert net.training
    assert net.body[2].training
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())
    assert torch.get_rng_state().equal(random_state)


def test_one_attack_by_four_ways(trained: afdctl.LoadedRun, shell: Afdctl):
    """The command, `evaluate` of the run, of its network, and `attack` on the same images agree to the bit."""
    command = f"attack nt --attack pgd_linf --epsilon 0.1 --first {N} --set steps=5 --json"
    cells = json.loads(shell(*command.split()).out)["cells"]
    options: dict[str, Any] = {"attacks": "pgd_linf", "epsilons": [0.1], "settings": {"steps": 5}, "first": N}
    of_run = afdctl.evaluate(trained, device="cpu", **options)
    # the journal's row has the time at which it was written
    assert [{key: cell[key] for key in cells[0]} for cell in json.loads(json.dumps(of_run.cells))] == cells
    model = afdctl.load_model(trained, device="cpu")
    of_model = afdctl.evaluate(model, data="digits", **options)
    test = afdctl.data.load("digits", None).test
    given = afdctl.attack(model, test.x[:N] / 255, test.y[:N], "pgd_linf", epsilon=0.1, steps=5)
    distances = [given.distance, *(torch.from_numpy(one.curves[0].distances) for one in (of_run, of_model))]
    assert all(distance.equal(distances[0]) for distance in distances)
    (shown,) = [row for row in of_run.table() if row["epsilon"] == 0.1]
    assert shown["accuracy"] == given.robust_accuracy
    assert (shown["run"], shown["n"]) == ("nt", N)
    assert [row["accuracy"] for row in trained.cells()] == [given.robust_accuracy]


def test_transfers_and_the_worst_case(trained: afdctl.LoadedRun, folder: Path):
    other = afdctl.load_run(train(short("digits_nt", "seed=1"), folder / "runs", name="other"))
    options: dict[str, Any] = {"attacks": ["fgsm", "noise"], "epsilons": [0.1], "limit": 10, "device": "cpu"}
    evaluation = afdctl.evaluate([trained, "other"], runs=folder / "runs", settings={"samples": 2}, **options)
    assert {row["run"] for row in evaluation.table() if row["attack"] == "worst case"} == {"nt", "other"}
    transfer = afdctl.evaluate(trained, sources=[other], **options)
    assert {row["attack"] for row in transfer.table()} >= {"fgsm from other", "noise from other"}


def test_warnings_of_a_module(images: tuple[Tensor, Tensor]):
    x, y = images
    softmax = nn.Sequential(Net(), nn.Softmax(1))
    assert any("the outputs are probabilities" in warning for warning in afdctl.check(softmax, x, y))
    evaluation = afdctl.evaluate(softmax, attacks="fgsm", epsilons=[0.1], data=images)
    assert any("the outputs are probabilities" in warning for warning in evaluation.warnings)


X, Y = torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X.numpy()}, "x: must be a torch.Tensor, not"),
        ({"x": X[0]}, r"x: must be images \(n, c, h, w\), not a tensor of shape \(1, 8, 8\)"),
        ({"x": X[:0], "y": Y[:0]}, "x: must be images"),
        ({"x": X.byte()}, "x: must be floats .*, not uint8; divide 8-bit images by 255"),
        (
            {"x": X + 1.5},
            r"x: values are from 1.5 to 1.5, images are in \[0, 1\]; divide them by their largest",
        ),
        ({"x": X / 0}, "x: has NaN or infinite values"),
        ({"y": Y.float()}, "y: must be class numbers, such as int64, not float32"),
        ({"y": Y[:1]}, "y: must be 2 labels, one for each image"),
        ({"y": Y + 10}, "y: labels are from 10 to 10, the model has classes 0 to 9"),
        ({"y": Y - 1}, "y: labels are from -1"),
        ({"model": "runs/x"}, "model: must be a torch.nn.Module, not a str; `load_model`"),
        ({"model": nn.Linear(3, 3)}, "the model rejects images of shape"),
        ({"model": nn.Flatten(0)}, r"the model returns a tensor of shape \(128\)"),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10, device="meta"))},
            "model: has tensors without values on the meta dev",
        ),
        ({"model": nn.Sequential(nn.Flatten(), nn.LazyLinear(10))}, "model: has lazy tensors without values .1.weight"),
        ({"attack": "pgd"}, "attack pgd: no such attack"),
        ({"epsilon": 8}, "did you mean 8/255"),
        ({"epsilon": 0}, "epsilon: has no epsilon to attack at"),
        ({"epsilon": -1}, "epsilon: must be 0 or more"),
        ({"epsilon": "8/0"}, "epsilon: must be numbers or fractions such as 8/255"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"step": 3}, r"settings: step: no selected attack has this key \(did you mean 'steps'"),
        ({"steps": "3"}, "settings: pgd_linf.steps = .*must be a whole number"),
    ],
)
def test_what_cannot_be_attacked(net: Net, changed: dict[str, Any], message: str):
    given = {"model": net, "x": X, "y": Y, "attack": "pgd_linf", "epsilon": 0.1} | changed
    with pytest.raises(afdctl.RecipeError, match=message):
        afdctl.attack(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data: missing; name a data set"),
        ({"data": "nosuch"}, "nosuch.*no such data set"),
        ({"data": (X + 0.001, Y)}, "data: x must be 8-bit images"),
        ({"data": (X, Y), "sources": "latest"}, "sources: are for runs"),
        ({"data": (X, Y), "limit": 1, "first": 1}, "take a random sample and the first images"),
        ({"data": (X, Y), "epsilons": [0.1]}, "one grid cannot serve the norms .*; select attacks with attacks"),
        ({"data": (X, Y), "precision": "fp8", "attacks": "fgsm"}, "precision"),
    ],
)
def test_what_cannot_be_evaluated(net: Net, options: dict[str, Any], message: str):
    with pytest.raises(afdctl.RecipeError, match=message):
        afdctl.evaluate(net, **options)


def test_a_function_of_the_callers_own_is_an_attack(net: Net, images: tuple[Tensor, Tensor]):
    def move(model: Any, x: Tensor, y: Tensor, *, epsilon: float, times: int = 1) -> Tensor:
        return x + times * epsilon

    x, y = images
    silent, outside = "move: never calls the model", f"{N - 2} of {N - 2} x' at 0.1 were outside the ball"
    with pytest.warns(UserWarning, match=silent), pytest.warns(UserWarning, match=outside):
        result = afdctl.attack(net, x, y, move, epsilon=0.1, times=3)
    assert (result.x_adv - x).abs().max() <= 0.1 + 1e-6
    unmoved = afdctl.attack(net, x, y, lambda model, x, y, *, epsilon: x + 0 * model(x).sum(), epsilon=0.1)
    assert unmoved.robust_accuracy == 1 - 2 / N
    with pytest.raises(afdctl.RecipeError, match="returned NaN for all"):
        afdctl.attack(net, x, y, lambda model, x, y, *, epsilon: x * torch.nan, epsilon=0.1)
    with pytest.raises(afdctl.RecipeError, match="attack int: is an int, which cannot be called"):
        afdctl.attack(net, x, y, 3, epsilon=0.1)  # type: ignore[arg-type]
