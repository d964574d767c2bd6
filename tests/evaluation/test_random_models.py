"""EoT: attacks on random models average gradients, and the class of most passes is the verdict."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import NO_CLASS, voted_class
from afdctl.attacks.pgd import pgd_linf
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.errors import RecipeError
from afdctl.evaluation.verify import predict
from afdctl.suites import load
from tests.attacks.cases import images, small_model
from tests.evaluation.conftest import MakeSubject
from tests.evaluation.test_runner import arrays, assert_equal, events, spec, sweep, tasks

GRID = (0.0, 0.1)


class Noisy(nn.Module):
    """Classifies the image plus strong noise."""

    def __init__(self, model: nn.Module, deviation: float) -> None:
        super().__init__()
        self.model, self.deviation = model, deviation

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + self.deviation * torch.randn_like(x))


class Coin(nn.Module):
    """Answers class 1 in three of ten passes, class 0 in the others, whatever the image."""

    def forward(self, x: Tensor) -> Tensor:
        wrong = (torch.rand(len(x), 1) < 0.3).float()
        return torch.cat([1 - wrong, wrong], 1) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_most_passes_decide():
    torch.manual_seed(0)
    x = torch.rand(200, 1, 2, 2)
    assert 30 < int(predict(Coin(), x).sum()) < 90
    assert int(predict(Coin(), x, 101).sum()) == 0
    nan = torch.full((1, 2), torch.nan)
    assert voted_class([nan, nan, torch.eye(2)[:1]]).tolist() == [NO_CLASS]


def test_averaged_gradients_find_more_than_single_ones():
    model, x = small_model(), images(64)
    y = model(x).argmax(1)
    noisy = Noisy(model, 0.5)

    def found(eot: int) -> int:
        torch.manual_seed(0)
        result = pgd_linf(
            noisy, x, y, epsilon=0.05, steps=10, eot=eot, early_stop=False, rng=SampleRNG(0, "t", range(64))
        )
        assert (result.forwards == 11 * eot).all()
        assert (result.backwards == 10 * eot).all()
        return int((model(result.x_adv).argmax(1) != y).sum())

    assert found(20) > found(1)


ATTACKS = [
    spec("pgd_linf", GRID, steps=3, eot=5),
    spec("apgd_ce", GRID, steps=3, eot=5),
    spec("apgd_l1", (0.0, 2.0), steps=5, eot=3),
    spec("apgd_t", GRID, steps=3, targets=2, eot=5),
    spec("aa", GRID, version="rand", steps=3, eot=5),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_sweep_repeats_itself_and_does_not_take_chance_for_success(make_subject: MakeSubject, attack):
    """A model whose class depends on chance alone has no x'; a single pass would often show one."""
    # a ball too small to move any image across a boundary
    attack = attack.model_copy(update={"eot": 15, "epsilons": (0.0, 1e-6)})
    network = make_subject().network

    class Chance(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # every tenth pass rotates the classes
            rotated = torch.rand(len(x), 1) < 0.1
            logits = network(x).detach()
            return torch.where(rotated, logits.roll(1, 1), logits)

    subject = make_subject(name="chance", network=Chance())
    sweep(tasks(subject, attack)).run()
    (cell,) = events(subject.run, "cell")
    assert cell["accuracy"] == cell["acc_nat"]
    assert cell["schedule"] == "independent"
    assert cell["spec"]["eot"] == 15
    other = make_subject(name="again", network=Chance())
    sweep(tasks(other, attack)).run()
    one, two = (next(iter(arrays(run).values())) for run in (subject.run, other.run))
    assert_equal({"": one}, {"": two})


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_success_on_a_random_model_is_found_and_counted(make_subject: MakeSubject, attack):
    subject = make_subject()
    noisy = make_subject(name="noisy", network=Noisy(subject.network, 0.02))
    sweep(tasks(noisy, attack)).run()
    (cell,) = events(noisy.run, "cell")
    assert cell["accuracy"] < cell["acc_nat"] - 0.1
    columns = next(iter(arrays(noisy.run).values()))
    epsilon = attack.epsilons[-1]
    forwards, backwards = attack.passes(classes=4)
    assert columns[f"{epsilon:g}/forwards"].max() <= forwards
    assert columns[f"{epsilon:g}/backwards"].max() <= backwards
    assert columns[f"{epsilon:g}/first_success"].max() <= backwards / attack.eot


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["eot=0"], "pgd_linf.eot = 0: must be at least 1"),
        (["eot=2", "schedule=ascending"], "schedule: eot is for random models"),
    ],
)
def test_mistakes(settings: list[str], message: str):
    with pytest.raises(RecipeError) as error:
        load.load("strong", "digits", attacks=["pgd_linf"], overrides=settings)
    assert message in str(error.value)


def test_only_version_rand_of_autoattack_has_eot(tmp_path: Path):
    with pytest.raises(RecipeError, match='only version = "rand" has it'):
        load.load("strong", "digits", attacks=["aa"], overrides=["eot=3"])
    (rand,) = load.load("strong", "digits", attacks=["aa"], overrides=["version=rand"]).attacks
    assert rand.evaluations == 20
    assert [part.name for part in rand.parts()] == ["apgd_ce", "apgd_dlr"]
    assert [part.eot for part in rand.parts()] == [20, 20]
