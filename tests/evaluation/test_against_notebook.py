"""Test that deterministic attacks have the same accuracies in a sweep and by the published notebook's method."""

import pytest

from afdctl.errors import RecipeError
from afdctl.evaluation.plan import plan_white_box
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from benchmarks.sweep_vs_foolbox import measure, notebook_attack
from tests.evaluation.conftest import MakeSubject, N


def spec(name: str, grid: tuple[float, ...], **knobs: object) -> AttackConfig:
    return ATTACKS[name](name=name, epsilons=grid, **knobs)  # type: ignore[arg-type]


ATTACKED = (
    spec("fgsm", (0, 0.05, 0.1)),
    spec("mim", (0, 0.05, 0.1), steps=10, step_size=0.02),
    spec("pgd_l2", (0, 0.2, 0.4), steps=20, rel_step=0.1),
    spec("ddn", (0, 0.2, 0.4), steps=50),
    spec("deepfool", (0, 0.05, 0.1)),
    spec("aa", (0, 0.1), steps=10, queries=20),
)


@pytest.mark.filterwarnings("ignore")
def test_both_ways_agree(make_subject: MakeSubject):
    tasks = plan_white_box([make_subject(classes=10)], lambda _: Suite("mine", ATTACKED), seed=0)
    report = measure(tasks, batch_size=25)
    assert report["n"] == N
    assert [row["attack"] for row in report["attacks"]] == [one.title for one in ATTACKED]
    for row in report["attacks"]:
        assert row["accuracy"][0] == row["notebook_accuracy"][0] == (N - 3) / N
        assert row["accuracy"][-1] < row["accuracy"][0]
        assert max(map(abs, row["differences"])) <= (
            0 if row["attack"] in ("fgsm", "mim", "ddn", "deepfool") else 2 / N
        )
        assert all(seconds > 0 for seconds in (*row["wall"], *row["cpu"]))
    ours, theirs = (sum(row["cpu"][way] for row in report["attacks"]) for way in (0, 1))
    assert report["all"]["cpu"] == pytest.approx(ours / theirs)
    network = tasks[0].source.network
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_what_the_notebook_does_not_have():
    with pytest.raises(RecipeError, match="square: the notebook has no such attack"):
        notebook_attack(spec("square", (0, 0.1)))
