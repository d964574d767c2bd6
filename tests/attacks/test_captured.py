"""A recorded adversary hands over what the plain one does, draw for draw; on the CPU it runs on its buffers."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from afdctl import registry
from afdctl.attacks import captured
from afdctl.attacks.adversary import Adversary
from afdctl.attacks.captured import Captured, Function, Recording
from afdctl.models.capture import WARM_UPS
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.models.precision import set_precision
from afdctl.recipe.schema import Attack, Model
from tests.conftest import NoWaitingForTheDevice

SHORT = 5
device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


def images(n: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    x = torch.rand((n, 1, 8, 8), generator=Generator().manual_seed(seed))
    return x.to(device), (torch.arange(n) % 3).to(device)


def made(name: str, *, captured: bool, device: str = "cpu", norm: str = "linf") -> tuple[FeatureClassifier, Adversary]:
    torch.manual_seed(0)
    network = build(Model(encoder="resnet18_mnist", width=4), channels=1, image_size=8, classes=3).to(device)
    attack = Attack(name=name, norm=norm, epsilon=0.1, steps=1 if name == "n_fgsm" else 3)
    return network, Adversary(network, attack, Generator(device).manual_seed(5), captured=captured)


def train(network: FeatureClassifier) -> None:
    """Move weights and running statistics in place, as an optimizer does."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.02


def assert_same(one: Tensor, other: Tensor) -> None:
    """To the bit on the CPU; a GPU may choose other kernels in a graph."""
    if one.is_cuda:
        torch.testing.assert_close(one, other)
    else:
        assert torch.equal(one, other)


@device
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", registry.ADVERSARIES)
def test_equals_the_plain_attack_batch_by_batch(name: str, norm: str, device: str):
    """Across epochs whose last batch is short, with weights that change, and a warm-up of epsilon in the middle."""
    (plain_network, plain), (network, recorded) = (
        made(name, captured=how, device=device, norm=norm) for how in (False, True)
    )
    sizes, epsilons = [16] * 6 + [SHORT] + [16] * 5 + [SHORT], [0.1] * 6 + [0.02, 0.04] + [0.08] * 5
    for batch, (n, epsilon) in enumerate(zip(sizes, epsilons, strict=True)):
        plain.table = recorded.table = plain.table.model_copy(update={"epsilon": epsilon})
        x, y = images(n, batch, device)
        assert_same(recorded(x, y), plain(x, y))
        train(plain_network)
        train(network)
    assert torch.equal(plain.generator.get_state(), recorded.generator.get_state())


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that were recorded, one entry a recording."""
    recorded: list[int] = []

    class Counted(Recording):
        def __init__(self, function: Function, generators: Sequence[Generator], x: Tensor, *rest: Any) -> None:
            recorded.append(len(x))
            super().__init__(function, generators, x, *rest)

    monkeypatch.setattr(captured, "Recording", Counted)
    return recorded


def captured_of(function: Function) -> Captured:
    return Captured(function, [Generator()], "the attack", "do without")


def test_what_is_recorded(forms: list[int]):
    """A form that comes four times running; neither short last batches nor epsilons that still grow, and not anew."""
    runs: list[float] = []

    def attack(x: Tensor, y: Tensor) -> Tensor:
        runs.append(float(x.sum()))
        return x + 1

    quick = captured_of(attack)
    warm = [(8, 1), (8, 2)] + [(8, 3)] * WARM_UPS
    full, short = [(8, 3)] * 2, [(SHORT, 3)]
    calls = warm + full + short + full + [(8, 4)] * WARM_UPS + full + short * WARM_UPS + full + [(8, 5)] * 5
    for n, settings in calls:
        x, y = torch.rand(n, 1, 2, 2), torch.zeros(n, dtype=torch.long)
        assert torch.equal(quick(x, y, settings), x + 1)
    assert forms == [8, 8]
    assert len(runs) == len(calls), "what trains must not be run for nothing"


def test_x_adv_is_the_callers_own(forms: list[int]):
    quick = captured_of(lambda x, y: x)
    (one, two), y = torch.rand(2, 4, 1, 2, 2), torch.zeros(4, dtype=torch.long)
    for _ in range(WARM_UPS):
        quick(one, y, ())
    first = quick(one, y, ())
    kept = first.clone()
    second = quick(two, y, ())
    assert forms == [4]
    assert torch.equal(first, kept)
    assert not torch.equal(first, second)


def test_a_recorded_attack_never_waits_for_the_device():
    _, recorded = made("apgd_ce", captured=True)
    with NoWaitingForTheDevice():
        for batch in range(WARM_UPS + 2):
            recorded(*images(16, batch, "cpu"))


@device
def test_goes_on_from_a_saved_generator(device: str):
    """As a resumed run does, whose first batch is not recorded yet."""
    _, recorded = made("apgd_ce", captured=True, device=device)
    for batch in range(WARM_UPS):
        recorded(*images(16, batch, device))
    state = recorded.generator.get_state()
    expected = [recorded(*images(16, batch, device)) for batch in (3, 4, 5)]
    _, resumed = made("apgd_ce", captured=True, device=device)
    resumed.generator.set_state(state)
    for batch, x_adv in zip((3, 4, 5), expected, strict=True):
        assert_same(resumed(*images(16, batch, device)), x_adv)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_graph_replays_draws_and_weights(precision: str):
    """Not the numbers of its capture once more: a second replay draws anew, and sees weights that changed."""
    network, recorded = made("apgd_ce", captured=True, device="cuda")
    set_precision(network, precision)
    recorded = Adversary(network, Attack(epsilon=0.1, steps=3), Generator("cuda").manual_seed(5), captured=True)
    x, y = images(16, 0, "cuda")
    first, second, third, _, fifth = (recorded(x, y) for _ in range(WARM_UPS + 2))
    assert recorded._captured is not None
    assert recorded._captured._recording is not None
    assert recorded._captured._recording.graph is not None
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not torch.equal(third, fifth)
    state = recorded.generator.get_state()
    before = recorded(x, y)
    train(network)
    recorded.generator.set_state(state)
    assert not torch.equal(recorded(x, y), before)


@pytest.mark.gpu
def test_a_replay_never_synchronises():
    _, recorded = made("apgd_ce", captured=True, device="cuda")
    batches = [images(16, batch, "cuda") for batch in range(WARM_UPS + 3)]
    for x, y in batches[:-2]:
        recorded(x, y)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for x, y in batches[-2:]:
            recorded(x, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")
