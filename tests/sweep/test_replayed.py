"""Replayed passes give what the model gives, to whoever calls in whatever order; on the CPU they run on buffers."""

import pytest
import torch
from torch import Generator, Tensor, nn

from afdctl.attacks.iterate import Model, ascend, cross_entropy_of
from afdctl.models.feature_classifier import build
from afdctl.models.folding import FoldedTwin
from afdctl.profile.spec import Spec
from afdctl.recipe.schema import Model as Table
from afdctl.sweep import replayed
from afdctl.sweep.batch import searchable
from afdctl.sweep.replayed import HELD, OFTEN, Pass, Replayed
from tests.attacks.test_captured import assert_same, train
from tests.sweep.conftest import MakeSubject
from tests.sweep.test_runner import arrays, assert_equal, spec, sweep, tasks

device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


def network(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    made = build(Table(encoder="resnet18_mnist", width=4), channels=1, image_size=8, classes=3)
    return made.eval().requires_grad_(False).to(device)


def images(n: int, seed: int, device: str = "cpu") -> Tensor:
    return torch.rand((n, 1, 8, 8), generator=Generator().manual_seed(seed)).to(device)


def labels(n: int, device: str = "cpu") -> Tensor:
    return (torch.arange(n) % 3).to(device)


def often(model: Model, *batches: Tensor) -> Replayed:
    """The model, with passes for these batches recorded."""
    quick = Replayed(model)
    for x in batches:
        for _ in range(OFTEN):
            quick(x)
    assert len(quick.held) == len(batches)
    return quick


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Batch size, and whether with a gradient, of each pass that is recorded."""
    forms: list[tuple[int, bool]] = []

    class Counted(Pass):
        def __init__(self, model: Model, x: Tensor, memory: replayed.Memory) -> None:
            super().__init__(model, x, memory)
            forms.append((len(x), self.has_gradient))

    monkeypatch.setattr(replayed, "Pass", Counted)
    return forms


@device
@pytest.mark.parametrize("folded", [True, False])
def test_equals_the_model(device: str, folded: bool, recorded: list[tuple[int, bool]]):
    """Several sizes in turn, with and without a gradient, with images that change."""
    model = FoldedTwin(network(device)) if folded else network(device)
    quick = Replayed(model)
    for turn in range(2 * OFTEN):
        for n in (16, 10):
            x, y = images(n, turn, device), labels(n, device)
            for one, other in zip(
                ascend(quick, cross_entropy_of(y), x), ascend(model, cross_entropy_of(y), x), strict=True
            ):
                assert_same(one, other)
            with torch.no_grad():
                assert_same(quick(x), model(x))
    assert sorted(recorded) == [(10, False), (10, True), (16, False), (16, True)]


@device
def test_sees_weights_that_changed(device: str):
    model, x, y = network(device), images(8, 0, device), labels(8, device)
    quick = often(model, x.clone().requires_grad_())
    before = ascend(quick, cross_entropy_of(y), x)
    train(model)
    after = ascend(quick, cross_entropy_of(y), x)
    assert not torch.equal(before[2], after[2])
    for one, other in zip(after, ascend(model, cross_entropy_of(y), x), strict=True):
        assert_same(one, other)


@device
def test_results_are_the_callers_own(device: str):
    quick = often(network(device), images(8, 0, device).requires_grad_())
    (first, second), y = (images(8, seed, device) for seed in (1, 2)), labels(8, device)
    found = ascend(quick, cross_entropy_of(y), first)
    kept = [tensor.clone() for tensor in found]
    ascend(quick, cross_entropy_of(y), second)
    assert all(torch.equal(one, other) for one, other in zip(found, kept, strict=True))


@device
@pytest.mark.parametrize("between", [8, 5])
def test_a_pass_inside_of_a_pass(device: str, between: int):
    """The way back of the outer one comes after the inner one, of the same form or another, has overwritten buffers."""
    model = network(device)
    outer, inner = (images(n, n + 1, device).requires_grad_() for n in (8, between))
    quick = often(model, *{len(x): x for x in (outer, inner)}.values())

    def both(model: Model) -> tuple[Tensor, Tensor]:
        later, earlier = model(outer), model(inner)
        (inside,) = torch.autograd.grad(earlier.square().sum(), inner)
        (outside,) = torch.autograd.grad(later.square().sum(), outer)
        return outside, inside

    for one, other in zip(both(quick), both(model), strict=True):
        assert_same(one, other)


@device
def test_goes_back_more_than_once(device: str):
    """As an attack does that wants the slope of each class."""
    model, x = network(device), images(8, 0, device).requires_grad_()
    quick = often(model, x)
    slopes = [
        [torch.autograd.grad(logits[:, number].sum(), x, retain_graph=True)[0] for number in range(3)]
        for logits in (quick(x), model(x))
    ]
    for one, other in zip(*slopes, strict=True):
        assert_same(one, other)


def test_images_that_changed_before_a_way_back_are_noticed():
    """Their pass would have to be run once more."""
    x = images(8, 0)
    quick = often(network(), x.clone().requires_grad_())
    at = x.clone().requires_grad_()
    logits = quick(at)
    quick(x.clone().requires_grad_())
    with torch.no_grad():
        at += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


def test_a_model_without_a_gradient_stays_one():
    x = images(8, 0).requires_grad_()
    quick = often(lambda x: torch.ones(len(x), 3) + x.detach().flatten(1).sum(1, keepdim=True), x)
    assert not quick(x).requires_grad


def passes(quick: Replayed, counts: dict[int, int]) -> None:
    for n, count in counts.items():
        for _ in range(count):
            quick(images(n, 0))


def test_few_are_held_and_a_rare_one_makes_room(recorded: list[tuple[int, bool]]):
    quick = Replayed(lambda x: x.flatten(1))
    passes(quick, dict.fromkeys(range(1, HELD + 1), 2 * OFTEN) | {20: OFTEN - 1})
    assert recorded == [(n, False) for n in range(1, HELD + 1)]
    passes(quick, {20: 3 * OFTEN + 1})
    assert recorded[HELD:] == [], "twice as often as the others, not more"
    passes(quick, {20: 1})
    assert recorded[HELD:] == [(20, False)]
    assert len(quick.held) == HELD
    passes(quick, {1: OFTEN})
    assert len(recorded) == HELD + 1, "not in turn"


def test_a_device_without_memory_gets_all_of_it_back(monkeypatch: pytest.MonkeyPatch):
    def full(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    quick = often(network(), images(8, 0))
    monkeypatch.setattr(quick, "model", full)
    with pytest.raises(torch.OutOfMemoryError):
        quick(images(16, 0))
    assert not quick.held


@pytest.mark.parametrize(
    "attack",
    [
        spec("pgd_linf", steps=8), spec("ddn", steps=10), spec("deepfool", steps=5), spec("cw", steps=5),
        spec("apgd_t", steps=5), spec("fab_t", steps=5),
    ],
    ids=lambda attack: attack.name,
)  # fmt: skip
def test_a_sweep_finds_the_same(make_subject: MakeSubject, attack: Spec, recorded: list[tuple[int, bool]]):
    plain, quick = make_subject("plain"), make_subject("quick")
    sweep(tasks(plain, attack)).run()
    assert not recorded
    sweep(tasks(quick, attack), graphs=True).run()
    assert recorded
    one, other = (next(iter(arrays(subject.run).values())) for subject in (plain, quick))
    assert_equal({"": one}, {"": other})


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_replay_on_a_gpu_launches_a_graph_and_never_synchronises(precision: str):
    made = network("cuda")
    quick, plain = (searchable(made, lambda: None, precision, graphs) for graphs in (True, False))
    x, y = images(16, 0, "cuda"), labels(16, "cuda")
    for _ in range(OFTEN):
        ascend(quick, cross_entropy_of(y), x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = ascend(quick, cross_entropy_of(y), x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as traced:
        ascend(quick, cross_entropy_of(y), x)
    launched = [event.key for event in traced.key_averages() if "cudaGraphLaunch" in event.key]
    assert launched
    for one, other in zip(found, ascend(plain, cross_entropy_of(y), x), strict=True):
        assert torch.allclose(one, other, rtol=1e-2, atol=1e-3)
