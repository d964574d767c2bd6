"""A whole step on buffers is the step that it was, at whatever rates."""

from copy import deepcopy

import torch
from torch import Generator

from afdctl.attacks.adversary import Adversary
from afdctl.bench.steps import batch, defense
from afdctl.defenses.base import Defense
from afdctl.models.capture import WARM_UPS
from afdctl.train.graphed import GraphedStep
from tests.conftest import short

CPU = torch.device("cpu")
FACTORS = [1.0] * (WARM_UPS + 1) + [0.3, 0.3, 1 / 3, 0.01]


def made() -> tuple[Defense, GraphedStep]:
    """The same each time; the adversary's generator is that of the noise."""
    chosen = short("digits_wgan", "defense.gp_weight=1.0", "train.batch_size=16")
    torch.manual_seed(0)
    own = defense(chosen, chosen.defense, 2, batch(chosen, CPU))
    noise = Generator().manual_seed(1)
    own.adversary = adversary = Adversary(own.network, chosen.attack, noise)
    own.noise = noise
    return own, GraphedStep(own, adversary, [noise])


def test_rates_may_change_from_step_to_step_and_stay_numbers():
    """Also after a state was loaded, which gives the optimizers other groups."""
    images = batch(short("digits_wgan", "train.batch_size=16"), CPU)
    (plain, _), (graphed, step) = made(), made()
    graphed.load_state_dict(deepcopy(plain.state_dict()))
    for factor in FACTORS:
        for one in (plain, graphed):
            one.set_lr_factor(factor)
        expected, report = plain.step(images.x, images.y), step(images.x, images.y)
        assert list(report) == list(expected)
        assert all(torch.equal(report[name], expected[name]) for name in report)
        assert graphed.rates() == plain.rates()
        assert all(type(rate) is float for rate in graphed.rates().values())
    for name, tensor in plain.network.state_dict().items():
        assert name.endswith("extra_state") or torch.equal(tensor, graphed.network.state_dict()[name])
    optimizer = graphed.state_dict()["optimizer_F"]
    assert type(optimizer["param_groups"][0]["lr"]) is float


def test_reports_are_the_callers_own():
    images = batch(short("digits_wgan", "train.batch_size=16"), CPU)
    _, step = made()
    reports = [step(images.x, images.y) for _ in range(WARM_UPS + 2)]
    kept = [{name: float(value) for name, value in report.items()} for report in reports[-2:]]
    step(images.x, images.y)
    assert kept == [{name: float(value) for name, value in report.items()} for report in reports[-2:]]
    assert kept[0]["L_C"] != kept[1]["L_C"]
