"""Test each order of a grid: which samples are attacked, which results are implied, and the passes."""

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from afdctl import registry
from afdctl.attacks.base import NOT_FOUND, AttackResult
from afdctl.attacks.norms import clip_to_ball, lp_norm
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.evaluation.epsilon_search import attack_grid
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.autoattack import AA
from afdctl.suites.schema import ATTACKS

GRID = (0.0, 0.1, 0.2, 0.3)
BOUNDARY = torch.tensor([0.05, 0.15, 0.25, 0.5])
"""How far the second pixel of each of four images must rise to fool `model`; the first pixel names the image."""

x = torch.stack([torch.arange(4) / 10, torch.zeros(4)], 1).view(4, 1, 1, 2)
y = torch.zeros(4, dtype=torch.long)
calls: list[tuple[str, float, list[int]]] = []


def numbers(x: Tensor) -> Tensor:
    return (10 * x[:, 0, 0, 0]).round().long()


def model(x: Tensor) -> Tensor:
    return torch.stack([BOUNDARY[numbers(x)], x[:, 0, 0, 1]], 1)


class Stub:
    """An attack that raises the second pixel to `rise(boundary, epsilon)` and says whether that is past the boundary.

    It is blind to the images in `blind`, by the epsilon at which it is.
    """

    def __init__(self, name: str, rise: Any, blind: dict[float, list[int]] | None = None) -> None:
        self.name, self.rise, self.blind = name, rise, blind or {}

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, *, rng: SampleRNG, epsilon: float = 0.0, **knobs: Any
    ) -> AttackResult:
        who = numbers(x)
        calls.append((self.name, epsilon, who.tolist()))
        assert len(rng) == len(x)
        found = AttackResult.empty(x)
        found.x_adv[:, 0, 0, 1] = self.rise(BOUNDARY[who], epsilon)
        found.forwards += 1
        found.backwards += 2
        wrong = model(found.x_adv).argmax(1) == 1
        wrong &= ~torch.tensor([number in self.blind.get(epsilon, []) for number in who.tolist()])
        found.first_success_step[wrong] = 7
        return found


def to_the_sphere(boundary: Tensor, epsilon: float) -> Tensor:
    return torch.full_like(boundary, epsilon)


def just_over(boundary: Tensor, epsilon: float) -> Tensor:
    """No further than needed, as far as epsilon allows."""
    return (boundary + 1e-4).clamp_max(epsilon or 1.0)


def draws(epsilon: float) -> SampleRNG:
    return SampleRNG(0, f"{epsilon}", range(4))


def grid(monkeypatch: pytest.MonkeyPatch, spec: AttackConfig, *stubs: Stub) -> dict[float, AttackResult]:
    """What a schedule makes of the stubs."""
    calls.clear()
    for stub in stubs:
        monkeypatch.setitem(globals(), f"stub_{stub.name}", stub)
    table = {stub.name: f"{__name__}:stub_{stub.name}" for stub in stubs}
    monkeypatch.setattr(registry, "ATTACKS", table)
    found = attack_grid(spec, model, x, y, rng=draws)
    assert list(found) == list(GRID[1:])
    for epsilon, each in found.items():
        assert len(each.x_adv) == len(each.forwards) == len(x)
        assert lp_norm(each.x_adv - x, spec.norm).max() <= epsilon * (1 + 1e-5)
        assert (model(each.x_adv).argmax(1) != y)[each.fooled].all()
    return found


def fixed(schedule: str) -> AttackConfig:
    return ATTACKS["mim"](name="mim", epsilons=GRID, schedule=schedule)


def fooled(found: dict[float, AttackResult]) -> list[list[int]]:
    return [each.fooled.nonzero()[:, 0].tolist() for each in found.values()]


def test_independent_attacks_everyone_everywhere(monkeypatch: pytest.MonkeyPatch):
    found = grid(monkeypatch, fixed("independent"), Stub("mim", to_the_sphere, {0.3: [0]}))
    assert calls == [("mim", epsilon, [0, 1, 2, 3]) for epsilon in GRID[1:]]
    assert fooled(found) == [[0], [0, 1], [1, 2]]


def test_ascending_skips_fooled_samples(monkeypatch: pytest.MonkeyPatch):
    found = grid(monkeypatch, fixed("ascending"), Stub("mim", to_the_sphere, {0.3: [0]}))
    assert calls == [("mim", 0.1, [0, 1, 2, 3]), ("mim", 0.2, [1, 2, 3]), ("mim", 0.3, [2, 3])]
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]
    assert torch.equal(found[0.3].x_adv[0], found[0.1].x_adv[0])
    assert found[0.3].first_success_step.tolist() == [7, 7, 7, NOT_FOUND]
    # one more pass confirms a success
    assert [each.forwards.tolist() for each in found.values()] == [[2, 1, 1, 1], [0, 2, 1, 1], [0, 0, 2, 1]]
    assert [each.backwards.tolist() for each in found.values()] == [[2, 2, 2, 2], [0, 2, 2, 2], [0, 0, 2, 2]]


def test_descending_skips_robust_samples(monkeypatch: pytest.MonkeyPatch):
    found = grid(monkeypatch, fixed("descending"), Stub("mim", to_the_sphere, {0.3: [1]}))
    assert calls == [("mim", 0.3, [0, 1, 2, 3]), ("mim", 0.2, [0, 2]), ("mim", 0.1, [0])]
    assert fooled(found) == [[0], [0], [0, 2]]
    assert [each.forwards.tolist() for each in found.values()] == [[2, 0, 0, 0], [2, 0, 1, 0], [2, 1, 2, 1]]


def test_descending_credits_an_x_adv_in_the_smaller_ball(monkeypatch: pytest.MonkeyPatch):
    found = grid(monkeypatch, fixed("descending"), Stub("mim", just_over))
    # the second image is not attacked at 0.2, because its x' is in that ball
    assert calls == [("mim", 0.3, [0, 1, 2, 3]), ("mim", 0.2, [2]), ("mim", 0.1, [1])]
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]
    assert [each.forwards.tolist() for each in found.values()] == [[0, 1, 0, 0], [0, 0, 1, 0], [2, 2, 2, 1]]
    assert found[0.1].first_success_step.tolist() == [7, NOT_FOUND, NOT_FOUND, NOT_FOUND]


@pytest.mark.parametrize("schedule", ["ascending", "descending"])
def test_a_false_success_does_not_count(schedule: str, monkeypatch: pytest.MonkeyPatch):
    class Boaster(Stub):
        def __call__(self, *arguments: Any, **knobs: Any) -> AttackResult:
            found = super().__call__(*arguments, **knobs)
            found.first_success_step[:] = 1
            return found

    found = grid(monkeypatch, fixed(schedule), Boaster("mim", to_the_sphere))
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]


def test_a_minimum_is_searched_once(monkeypatch: pytest.MonkeyPatch):
    """An x' outside a ball is clipped to it, and counts if it still fools the model."""
    overshooting = Stub("deepfool", lambda boundary, epsilon: boundary + 0.12)
    found = grid(monkeypatch, ATTACKS["deepfool"](name="deepfool", epsilons=GRID), overshooting)
    assert calls == [("deepfool", 0.0, [0, 1, 2, 3])]
    # the first image's x' has norm 0.17, and fools from 0.05 on
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]
    assert torch.allclose(found[0.1].x_adv[0, 0, 0, 1], torch.tensor(0.1))
    assert torch.allclose(found[0.2].x_adv[0, 0, 0, 1], torch.tensor(0.17))
    assert found[0.1].first_success_step.tolist() == [7, NOT_FOUND, NOT_FOUND, NOT_FOUND]
    assert [each.forwards.tolist() for each in found.values()] == [[2, 2, 2, 2], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert [each.backwards.tolist() for each in found.values()] == [[2, 2, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]


def composed(schedule: str) -> AttackConfig:
    return AA(name="aa", epsilons=GRID, schedule=schedule)


@pytest.fixture
def parts() -> list[Stub]:
    """APGD-CE misses the second image, APGD-T the second and third, Square all of them."""
    blind = {epsilon: [1] for epsilon in GRID}
    blinder = {epsilon: [1, 2] for epsilon in GRID}
    all_missed = {epsilon: [0, 1, 2, 3] for epsilon in GRID}
    return [
        Stub("apgd_ce", to_the_sphere, blind),
        Stub("apgd_t", to_the_sphere, blinder),
        Stub("fab_t", just_over),
        Stub("square", to_the_sphere, all_missed),
    ]


def test_autoattack_descends_and_runs_fab_once_a_sample(monkeypatch: pytest.MonkeyPatch, parts: list[Stub]):
    found = grid(monkeypatch, composed("descending"), *parts)
    assert calls == [
        ("apgd_ce", 0.3, [0, 1, 2, 3]),
        ("apgd_t", 0.3, [1, 3]),
        ("fab_t", 0.0, [1, 3]),
        ("square", 0.3, [3]),
        # FAB-T's x' of the second image is in this ball already
        ("apgd_ce", 0.2, [0, 2]),
        ("apgd_t", 0.2, [2]),
        ("fab_t", 0.0, [2]),
        ("square", 0.2, [2]),
        ("apgd_ce", 0.1, [0, 1]),
        ("apgd_t", 0.1, [1]),
        ("square", 0.1, [1]),
    ]
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]
    assert [each.part.tolist() for each in found.values()] == [[0, -1, -1, -1], [0, 2, -1, -1], [0, 2, 0, -1]]
    assert [each.backwards.tolist() for each in found.values()] == [[2, 6, 0, 0], [2, 0, 8, 0], [2, 6, 2, 8]]


def test_fab_may_fill_the_batch_with_the_remaining_samples(monkeypatch: pytest.MonkeyPatch, parts: list[Stub]):
    sizes: list[tuple[int, int]] = []

    class SizeRecorder(Stub):
        def __call__(self, model: Any, x: Tensor, y: Tensor, *, max_batch: int, **others: Any) -> AttackResult:
            sizes.append((len(x), max_batch))
            return super().__call__(model, x, y, **others)

    parts[2] = SizeRecorder("fab_t", just_over)
    grid(monkeypatch, composed("descending"), *parts)
    assert sizes == [(2, 4), (1, 4)]


def test_autoattack_ascends_with_fab_once_a_sample(monkeypatch: pytest.MonkeyPatch, parts: list[Stub]):
    found = grid(monkeypatch, composed("ascending"), *parts)
    assert [call for call in calls if call[0] == "fab_t"] == [("fab_t", 0.0, [1, 2, 3])]
    # FAB-T found the nearest x' of the second and third image before their balls are reached
    assert [who for name, _, who in calls if name == "apgd_ce"] == [[0, 1, 2, 3], [2, 3], [3]]
    assert fooled(found) == [[0], [0, 1], [0, 1, 2]]


def test_autoattack_independently_is_one_attack(monkeypatch: pytest.MonkeyPatch):
    grid(monkeypatch, composed("independent"), Stub("aa", to_the_sphere))
    assert calls == [("aa", epsilon, [0, 1, 2, 3]) for epsilon in GRID[1:]]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_shrunk_lies_in_ball_and_box(norm: str, generator: torch.Generator):
    near, far = torch.rand((2, 16, 1, 4, 4), generator=generator)
    inside = clip_to_ball(far, near, 0.2, norm)
    assert torch.allclose(lp_norm(inside - near, norm), torch.tensor(0.2), atol=1e-5)
    assert inside.min() >= 0
    assert inside.max() <= 1


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network trained on digits, and test images (32, 1, 8, 8) that it classifies rightly."""
    torch.manual_seed(0)
    data = load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(3):
        for batch in torch.randperm(1500).split(100):
            optimizer.zero_grad()
            cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    network.eval().requires_grad_(False)
    x, y = x[1500:], y[1500:]
    right = network(x).argmax(1) == y
    return network, x[right][:32], y[right][:32]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_descending_autoattack_finds_the_same_for_less(trained: tuple[nn.Module, Tensor, Tensor], norm: str):
    network, x, y = trained
    epsilons = {"linf": (0.0, 0.04, 0.07, 0.1), "l2": (0.0, 0.3, 0.45, 0.6)}[norm]
    work, stand = {}, {}
    for schedule in ("independent", "descending"):
        spec = AA(name="aa", norm=norm, epsilons=epsilons, schedule=schedule, steps=8, queries=50, targets=4)
        found = attack_grid(spec, network, x, y, rng=lambda epsilon: SampleRNG(0, f"{epsilon}", range(len(x))))
        for epsilon, each in found.items():
            assert torch.equal(network(each.x_adv).argmax(1) != y, each.fooled)
            assert lp_norm(each.x_adv - x, norm).max() <= epsilon * (1 + 1e-5)
        work[schedule] = sum((each.forwards + 2 * each.backwards).sum().item() for each in found.values())
        stand[schedule] = torch.tensor([(~each.fooled).sum() for each in found.values()])
    assert (stand["independent"] - stand["descending"]).abs().max() <= 1
    assert 0 < stand["descending"].min() < stand["descending"].max() < len(x)
    assert work["descending"] < 0.5 * work["independent"]
