"""Training in a union of norms: recipe, schedule, and what validation and test report."""

from pathlib import Path

import pytest

from afdctl.errors import RecipeError
from afdctl.journal import drop_superseded, read_rows
from afdctl.recipe import load, loads
from afdctl.recipe.load import dump
from afdctl.training.passes import passes_of_validation
from afdctl.training.schedule import AdversarySchedule
from tests.conftest import short, train
from tests.training.test_schedule import UNION


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attack.union.l3=1"], "attack.union.l3: no such key (known: rule, linf, l2, l1)"),
        (["attack.union.linf=0.1"], "linf is the norm of attack.norm"),
        (["attack.union.rule=max"], "has no further ball; add a radius"),
        (["attack.union.linf=8", "attack.norm=l2"], "attack.union.linf = 8: must be at most 1"),
        ([*UNION, "attack.name=apgd_ce", "attack.union.rule=msd"], 'set attack.name = "pgd"'),
        ([*UNION, "attack.name=pgd_kl", "attack.union.rule=max"], "which pgd_kl does not maximise"),
        ([*UNION, "attack.name=pgd_lse", "attack.union.rule=max"], "which pgd_lse does not maximise"),
        ([*UNION, "attack.step_size=0.1"], "remove attack.step_size"),
        ([*UNION, "test.step_size=0.1"], "test.step_size = 0.1: in a union of norms"),
        ([*UNION, "attack.n_fgsm_epochs=2"], "n_fgsm has no union of norms"),
        (["attack.norm=l1", "test.step_size=0.1"], "test.step_size = 0.1: in l1"),
        (["attack.norm=l1", "attack.name=n_fgsm", "attack.steps=1"], "use apgd_ce, pgd, pgd_kl or pgd_lse"),
        (["attack.norm=l1", "attack.n_fgsm_epochs=1"], "hardly moves in l1"),
    ],
)
def test_mistakes(overrides: list[str], message: str):
    with pytest.raises(RecipeError) as error:
        load("digits_at", overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recipe_with_a_union_is_read_back():
    recipe = load("digits_at", UNION)
    assert recipe.attack.balls == {"linf": 0.1, "l2": 0.7, "l1": 2.0}
    assert loads(dump(recipe)) == recipe


def test_random_draws_one_ball_for_each_step_from_the_step_alone():
    recipe = short("digits_at", *UNION, "train.epochs=20", "attack.epsilon_warmup_epochs=2")
    schedule = AdversarySchedule(recipe, 5)
    tables = [schedule.table(step) for step in range(100)]
    assert {table.norm for table in tables} == {"linf", "l2", "l1"}
    assert all(table.union is None for table in tables)
    assert all(table.epsilon == recipe.attack.balls[table.norm] for table in tables[10:])
    # the warm-up takes ten steps
    assert tables[4].epsilon == pytest.approx(0.5 * recipe.attack.balls[tables[4].norm])
    assert [AdversarySchedule(recipe, 5).table(step).norm for step in range(50, 100)] == [t.norm for t in tables[50:]]


def test_a_validation_attacks_in_each_norm():
    alone = passes_of_validation(short("digits_at"))
    assert passes_of_validation(short("digits_at", *UNION)) == 3 * alone


@pytest.mark.parametrize("rule", ["random", "max", "msd"])
def test_validation_and_test_report_each_norm_and_the_union(tmp_path: Path, rule: str):
    more = ("attack.union.l2=0.7", "attack.name=pgd", f"attack.union.rule={rule}", "attack.epsilon_warmup_epochs=0")
    run = train(short("digits_at", *more, "train.epochs=4", "attack.epsilon=0.05"), tmp_path)
    rows = drop_superseded(read_rows(run.journal_path))
    reports = [row for row in rows if row["event"] in ("epoch", "test")]
    assert len(reports) == 6
    for row in reports:
        assert row["acc_adv"] <= min(row["acc_linf"], row["acc_l2"])
        assert max(row["acc_linf"], row["acc_l2"]) <= row["acc_nat"]
        assert "acc_l1" not in row
    assert reports[-1]["attack"] == "PGD-2 linf 0.05 + PGD-2 l2 0.7"


def test_l1_is_tested_with_sparse_steps(tmp_path: Path):
    run = train(short("digits_at", "attack.norm=l1", "attack.epsilon=2", "train.epochs=1"), tmp_path)
    (test, _) = [row for row in read_rows(run.journal_path) if row["event"] == "test"]
    assert test["attack"] == "APGD-2 l1 2"
    assert "acc_l1" not in test
