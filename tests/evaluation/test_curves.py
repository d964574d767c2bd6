"""Curves and the worst case of several attacks, from cells."""

from dataclasses import replace
from functools import partial
from typing import Any

import h5py

from afdctl.cli.evaluation_tables import caption
from afdctl.data.subset import Subset
from afdctl.evaluation.curves import SampleCurve, WorstCaseCurve, sweep_curves, worst_case_curves
from afdctl.evaluation.plan import plan_transfers, plan_white_box
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget
from afdctl.runs.curves import describe_mixed_grids
from afdctl.runs.record import Record
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from tests.evaluation.conftest import MakeSubject


def attack(**values: Any) -> AttackConfig:
    return ATTACKS[values["name"]](**{"epsilons": (0.0, 0.05, 0.1)} | values)


def measured(
    subject: EvaluationTarget, *specs: AttackConfig, limit: int | None = None
) -> tuple[list[SampleCurve], list[WorstCaseCurve]]:
    tasks = plan_white_box([subject], lambda _: Suite("mine", specs), seed=0, choose=partial(Subset.of, limit=limit))
    rows = SweepRunner(tasks, suite="mine", batch_size=20).run()
    curves = sweep_curves(tasks, rows)[subject.name]
    return curves, worst_case_curves(curves)


STRONG = attack(name="pgd_linf", label="strong", steps=20, rel_step=0.2)
WEAK = attack(name="pgd_linf", steps=1, rel_step=0.01)


def test_the_worst_case_is_at_most_every_curve(make_subject: MakeSubject):
    curves, (worst,) = measured(make_subject(), STRONG, WEAK, attack(name="deepfool"))
    for curve in curves:
        assert all(bound <= own for bound, own in zip(worst.accuracies, curve.accuracies, strict=True))
        assert curve.optimality is not None
        assert 0 <= curve.optimality <= 1
    assert curves[0].optimality > curves[1].optimality  # type: ignore[operator]


def test_a_cell_of_another_sweep_gets_this_plan_s_name(make_subject: MakeSubject):
    """The same attack under another label is not run again, and does not hide its namesake."""
    subject = make_subject()
    measured(subject, attack(name="pgd_linf", steps=20, rel_step=0.2))
    curves, (worst,) = measured(subject, STRONG, WEAK)
    assert [curve.attack for curve in curves] == ["strong", "pgd_linf"]
    assert worst.attacks == ("strong", "pgd_linf")
    assert worst.accuracies[-1] == curves[0].accuracies[-1] < curves[1].accuracies[-1]


def test_optimality_is_measured_on_the_attack_s_own_grid(make_subject: MakeSubject):
    """An attack that equals the envelope where it was run is optimal, however far a rival's grid goes."""
    short, long = attack(name="pgd_linf", label="short", epsilons=(0.0, 0.05), steps=20, rel_step=0.2), STRONG
    curves, _ = measured(make_subject(), short, long)
    assert curves[0].accuracies[1] == curves[1].accuracies[1]
    assert curves[0].optimality == curves[1].optimality == 1


def test_the_caption_bounds_the_longer_side_of_an_interval(make_subject: MakeSubject):
    """Wilson's interval of 8 of 8 goes from 67.6 % to 100 %."""
    subject = make_subject()
    subject.split.y[:8] = subject.network(subject.split.x[:8] / 255).argmax(1)
    curves, _ = measured(subject, attack(name="noise", samples=1, epsilons=(0.0, 0.001)), limit=8)
    assert curves[0].accuracies == (1, 1)
    assert "at most 32.4 points either way" in caption(curves)


def test_the_worst_of_all_counts_transfers(make_subject: MakeSubject):
    """A success on images of another model is one: accuracy under any attack bounds robust accuracy from above."""
    sources, target = [make_subject(name, seed=seed) for seed, name in enumerate("ab", 1)], make_subject("target")
    plan = plan_transfers(sources, [target], lambda _: Suite("mine", (STRONG,)), seed=0)
    curves = sweep_curves(plan, SweepRunner(plan, suite="mine", batch_size=20).run())["target"]
    (worst,) = worst_case_curves(curves)
    assert worst.attacks == ("strong from a", "strong from b")
    assert worst.accuracies[-1] <= min(curve.accuracies[-1] for curve in curves)
    text = caption(curves)
    assert "an upper bound on robust accuracy" in text
    assert "no bound" not in text


def test_transfers_of_earlier_sweeps_are_in_the_worst_case(make_subject: MakeSubject):
    """Here the target's own images are noise, as from a model without gradients."""
    source, target = make_subject("source", seed=1), make_subject("target")
    plan = plan_transfers([source], [target], lambda _: Suite("mine", (STRONG,)), seed=0)
    SweepRunner(plan, suite="mine", batch_size=20).run()
    own = attack(name="noise", samples=1)
    curves, (worst,) = measured(target, own)
    assert [(one.attack, one.source) for one in curves] == [("noise", None), ("strong", "source")]
    assert worst.accuracies[-1] <= curves[1].accuracies[-1] < curves[0].accuracies[-1]
    assert all(text in caption(curves) for text in ("upper bound on robust accuracy", "No AutoAttack"))
    curves, rest = measured(replace(target, digest="another checkpoint"), own)
    assert (len(curves), rest) == (1, [])
    assert len(measured(target, own, limit=20)[0]) == 1


def test_areas_over_different_grids_are_named(make_subject: MakeSubject):
    curves, _ = measured(make_subject(), STRONG, WEAK, attack(name="fgsm", epsilons=(0.0, 8 / 255)))
    assert "does not compare across grids: strong, pgd_linf over 0 0.05 0.1; fgsm over 0 8/255." in caption(curves)
    assert "across grids" not in caption(curves[:2])
    assert describe_mixed_grids([("a", (0.0, 0.1)), ("b", (0.0, 0.1))]) is None


def test_the_warnings_of_a_check_accompany_its_numbers(make_subject: MakeSubject):
    """They are once in the journal, and with each number in results.h5, JSON and the caption."""
    row = {"event": "sanity_check", "checkpoint": "digest of model", "data": "data", "version": 1, "n": 40}
    subject = replace(make_subject(), check=row | {"warnings": ["its gradients are masked"]})
    curves, (worst,) = measured(subject, STRONG, WEAK)
    assert [one.as_json()["warnings"] for one in (*curves, worst)] == [("its gradients are masked",)] * 3
    assert caption(curves).endswith("Warning: its gradients are masked.")
    assert caption(curves).count("Warning") == 1
    with h5py.File(subject.run.results_path) as file:
        for place in ("attacks/strong/0.05", "attacks/pgd_linf/0.1"):
            assert file[place].attrs["warnings"] == '["its gradients are masked"]'
    record = Record.of(subject.run)
    assert record.shown_warnings == ["its gradients are masked"]
    assert [one.warnings for one in record.curves.values()] == [("its gradients are masked",)] * 2


def test_a_transfer_has_the_warnings_of_its_source_too(make_subject: MakeSubject):
    source = make_subject("source", seed=1)
    row = {"event": "sanity_check", "checkpoint": source.digest, "data": "data", "version": 1, "n": 40}
    source = replace(source, check=row | {"warnings": ["random"]})
    target = make_subject("target")
    plan = plan_transfers([source], [target], lambda _: Suite("mine", (WEAK,)), seed=0)
    (curve,) = sweep_curves(plan, SweepRunner(plan, suite="mine", batch_size=20).run())["target"]
    assert curve.warnings == ("source: random",)
    assert Record.of(target.run).shown_warnings == ["source: random"]
