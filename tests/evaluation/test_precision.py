"""Test that a success of a bfloat16 search counts only if float32 confirms it, and is searched again if not."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdctl.attacks.base import cross_entropy_per_sample, loss_and_gradient
from afdctl.errors import RecipeError
from afdctl.evaluation import batch, request
from afdctl.evaluation.batch import PreparedModel, check_precision
from afdctl.models.feature_classifier import build
from afdctl.runs.selection import selected_curves
from afdctl.suites.load import Suite
from tests.evaluation.conftest import MakeSubject
from tests.evaluation.test_runner import GRID, PGD, arrays, events, spec, sweep, tasks


class Coarse(nn.Module):
    """Logits around 60, which bfloat16 rounds to quarters: many tie there, and the first class wins."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return 60 + logits


def test_the_key_depends_on_it(make_subject: MakeSubject):
    subject = make_subject()
    (task,) = tasks(subject, PGD)
    low = task.with_precision("bf16")
    assert low.key(subject, 0.1) != task.key(subject, 0.1) == task.with_precision("float32").key(subject, 0.1)
    assert low.with_epsilons([0.1]).precision == "bf16"


@pytest.mark.parametrize("faster", ["bf16", "float32"])
def test_auto_is_the_faster_one_but_float32_for_minimum_norm_attacks_and_a_single_step(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, faster: str
):
    subject = make_subject()
    monkeypatch.setattr(request, "choose_precision", lambda make_pass, device: make_pass(faster)() or faster)
    suite = Suite("mine", (PGD, spec("ddn", steps=20), spec("fgsm")))
    asked = request.EvaluationRequest(suites={subject.dataset: suite}, precision="auto")
    asked.check([subject])
    planned = {task.spec.name: task.precision for task in asked.tasks([subject], [])}
    assert planned == {"pgd_linf": faster, "ddn": "float32", "fgsm": "float32"}


def test_auto_measures_nothing_where_no_attack_depends_on_it(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
):
    subject = make_subject()
    monkeypatch.setattr(request, "choose_precision", lambda make_pass, device: pytest.fail("measured"))
    suite = Suite("mine", (spec("ddn", steps=20), spec("fgsm")))
    asked = request.EvaluationRequest(suites={subject.dataset: suite}, precision="auto")
    assert {task.precision for task in asked.tasks([subject], [])} == {"float32"}


@pytest.mark.parametrize("order", ["ascending", "descending", "independent"])
@pytest.mark.parametrize("name", ["pgd_linf", "ddn"])
def test_a_refuted_success_is_searched_again(
    make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, name: str, order: str
):
    """Each sample either has all its successes confirmed, or has the results of a search in float32."""
    attack = spec("ddn", steps=20) if name == "ddn" else spec(name, steps=5, schedule=order)
    exact, low = make_subject("exact", network=Coarse()), make_subject("low", network=Coarse())
    again: list[int] = []
    search = batch.search

    def counted(*arguments, **options):
        again.append(len(arguments[3]))
        return search(*arguments, **options)

    monkeypatch.setattr(batch, "search", counted)
    sweep([task.with_precision("bf16") for task in tasks(low, attack)], batch_size=64).run()
    assert len(again) == 2
    searched, refuted = again
    assert 0 < refuted < searched
    sweep(tasks(exact, attack), batch_size=64).run()
    columns, of_exact = next(iter(arrays(low.run).values())), next(iter(arrays(exact.run).values()))
    same = np.ones(len(columns["label"]), dtype=bool)
    for epsilon in GRID[1:]:
        same &= np.isclose(columns[f"{epsilon:g}/distance"], of_exact[f"{epsilon:g}/distance"])
        claimed = columns[f"{epsilon:g}/first_success"] >= 0
        confirmed = columns[f"{epsilon:g}/prediction"] != columns["label"]
        unconfirmed = claimed & ~confirmed
        assert (columns[f"{epsilon:g}/distance"][unconfirmed] == np.inf).all()
        # a false claim is allowed where the search in float32 makes it too
        assert same[unconfirmed].all()
    assert same.sum() >= refuted
    assert {row["precision"] for row in events(low.run, "cell")} == {"bf16"}


def test_our_network_computes_only_the_encoder_in_bf16_and_is_unchanged():
    torch.manual_seed(0)
    network = build("resnet18_mnist", width=4, channels=1, image_size=8, classes=3).eval()
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8) % 3
    exact, low = (
        loss_and_gradient(PreparedModel(network, lambda: None, how), cross_entropy_per_sample, x, y)
        for how in ("float32", "bf16")
    )
    for one, other in zip(exact, low, strict=True):
        assert one.dtype is other.dtype is torch.float32
        assert not torch.equal(one, other)
    with torch.no_grad():
        assert torch.allclose(network(x), exact[0], atol=1e-5)


def test_another_model_that_holds_one_of_ours_is_judged_in_float32():
    torch.manual_seed(0)
    inner = build("lenet", width=2, channels=1, image_size=8, classes=3).eval()
    other, x = nn.Sequential(inner), torch.rand(4, 1, 8, 8)
    before = other(x)
    PreparedModel(other, lambda: None, "bf16")(x)
    assert torch.equal(other(x), before)


def test_a_model_that_cannot_compute_in_it_is_named():
    class Numpy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy((x.flatten(1) @ torch.ones(16, 3)).numpy())

    check_precision(Numpy(), torch.rand(2, 1, 4, 4), "float32")
    with pytest.raises(RecipeError, match=r"^--precision bf16: the model cannot compute in it: .*BFloat16"):
        check_precision(Numpy(), torch.rand(2, 1, 4, 4), "bf16")


def test_cells_of_another_precision_are_another_curve():
    cell = {"event": "cell", "attack": "a", "source": None, "spec": {}, "schedule": "once", "checkpoint": "", "seed": 0}
    one, other = (cell | {"n": 9, "acc_nat": 0.9, "accuracy": 0.5, "epsilon": epsilon} for epsilon in (0.1, 0.2))
    bf16, float32 = {"precision": "bf16"}, {"precision": "float32"}
    assert selected_curves([one | bf16, other | float32])["a", None].epsilons == (0.0, 0.2)
    assert selected_curves([one | float32, other | float32])["a", None].epsilons == (0.0, 0.1, 0.2)
