"""The masking diagnosis in a few sentences, below a sweep's table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afdctl.analysis.masking import Diagnosis
    from afdctl.evaluation.curves import SampleCurve
    from afdctl.evaluation.target import EvaluationTarget


def short_form(diagnosis: "Diagnosis") -> str | None:
    """Return the diagnosis in a few sentences; None where the results allow no comparison."""
    from afdctl.analysis.masking import CAVEAT

    if not diagnosis.compares:
        return None
    failed = [found for found in diagnosis.findings if found.verdict == "fail"]
    sentences = [f"Masking: {diagnosis.headline.partition(': ')[2]}."]
    sentences += [f"{found.indicator}: {found.text}." for found in failed]
    if diagnosis.overestimation and not any(found.indicator == "D7" for found in failed):
        sentences.append(f"{diagnosis.overestimation}.")
    if diagnosis.missing:
        sentences.append(f"Not measured: {', '.join(diagnosis.missing)} (`afdctl analyze --masking` does).")
    return " ".join([*sentences, CAVEAT])


def diagnose_sweep(targets: "Sequence[EvaluationTarget]", curves: "Sequence[SampleCurve]") -> "list[Diagnosis]":
    """Diagnose the targets of a sweep by its curves."""
    from afdctl.analysis import masking

    return [
        diagnosis
        for target in targets
        for diagnosis in masking.diagnose(
            target.run,
            [curve for curve in curves if curve.run == target.name],
            target.check,
        )
    ]
