"""The dashboard shows the same numbers of a sweep as tables and the report."""

import pytest

from afdctl.runs.selection import selected_curves
from afdctl.tui.state.sweep import SweepProgress
from tests.tui import journals

FEW = {"n": 10, "acc_nat": 0.7}


def state(rows: list[journals.Row]) -> SweepProgress:
    sweep = SweepProgress()
    for row in rows:
        sweep.add(row)
    return sweep


def test_the_area_begins_at_clean_accuracy_on_the_attacked_images():
    """An attack on 10 images has its own clean accuracy, not that of the run's full test split."""
    rows = [journals.cell("fgsm", epsilon, **FEW) for epsilon in (0.1, 0.2)] + [journals.cell("mim", 0.1)]
    sweep = state([*rows, {"event": "sweep_end", "t": 1.0, "reason": "finished"}])
    assert sweep.acc_nat == 0.99
    curves = selected_curves(rows)
    assert sweep.auc(("fgsm", "")) == pytest.approx(curves["fgsm", None].auc)
    assert sweep.auc(("mim", "")) == pytest.approx(curves["mim", None].auc)


def test_a_label_does_not_hide_autoattack():
    fgsm = journals.cell("fgsm", 0.1)
    labelled = journals.cell("aa", 0.1) | {"attack": "strongest"}
    assert state([fgsm, journals.cell("mim", 0.1) | {"attack": "aardvark"}]).lacks_autoattack
    assert not state([fgsm, labelled]).lacks_autoattack
    assert state([labelled | {"source": "another"}]).lacks_autoattack
