"""Curves and the worst case of several attacks, from cells."""

from typing import Any

from afdctl.cli.accuracies import caption
from afdctl.profile.load import Profile
from afdctl.profile.schema import ATTACKS
from afdctl.profile.spec import Spec
from afdctl.sweep.plan import white_box
from afdctl.sweep.runner import Sweep
from afdctl.sweep.subject import Subject
from afdctl.sweep.summary import Curve, Envelope, envelopes, of_tasks
from tests.sweep.conftest import MakeSubject


def attack(**values: Any) -> Spec:
    return ATTACKS[values["name"]](**{"epsilons": (0.0, 0.05, 0.1)} | values)


def measured(subject: Subject, *specs: Spec, limit: int | None = None) -> tuple[list[Curve], list[Envelope]]:
    tasks = white_box([subject], lambda _: Profile("mine", specs), seed=0, limit=limit)
    rows = Sweep(tasks, profile="mine", batch_size=20).run()
    curves = of_tasks(tasks, rows)[subject.name]
    return curves, envelopes(curves)


STRONG = attack(name="pgd_linf", label="strong", steps=20, rel_step=0.2)
WEAK = attack(name="pgd_linf", steps=1, rel_step=0.01)


def test_the_worst_case_is_at_most_every_curve(make_subject: MakeSubject):
    curves, (worst,) = measured(make_subject(), STRONG, WEAK, attack(name="deepfool"))
    for curve in curves:
        assert all(bound <= own for bound, own in zip(worst.accuracies, curve.accuracies, strict=True))
        assert curve.optimality is not None
        assert 0 <= curve.optimality <= 1
    assert curves[0].optimality > curves[1].optimality  # type: ignore[operator]


def test_a_cell_of_another_sweep_goes_by_this_plan_s_name(make_subject: MakeSubject):
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
    assert "at most 32.4 points either way" in caption("linf", curves)
