"""The masking diagnosis in a few sentences, below a sweep's table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afdctl.formatting import format_count

if TYPE_CHECKING:
    from afdctl.analysis.masking import Diagnosis
    from afdctl.evaluation.curves import SampleCurve
    from afdctl.evaluation.target import EvaluationTarget


def short_form(diagnosis: "Diagnosis") -> str | None:
    """Return the diagnosis in a few sentences; None where the results allow no comparison."""
    from afdctl.analysis.masking import CAVEAT

    if not diagnosis.compares:
        return None
    images = format_count(diagnosis.n, "image")
    sentences = [f"Masking, by all results on the same {images}: {diagnosis.headline.partition(': ')[2]}."]
    overestimation = diagnosis.overestimation
    for found in diagnosis.findings:
        if found.verdict in ("fail", "warn"):
            sentences.append(f"{found.indicator}{' warns' * (found.verdict == 'warn')}: {found.text}.")
            overestimation = None if overestimation and overestimation in found.text else overestimation
    if overestimation:
        sentences.append(f"{overestimation}.")
    if diagnosis.missing:
        sentences.append(
            f"Not measured: {', '.join(diagnosis.missing)} (`afdctl analyze --masking` measures them, or says why not)."
        )
    return " ".join([*sentences, CAVEAT])


def diagnose_sweep(
    targets: "Sequence[EvaluationTarget]", curves: "Sequence[SampleCurve]", limit: int | None, first: int | None
) -> "list[Diagnosis]":
    """Diagnose the targets of a sweep in the norms of its curves, by all their results on its images."""
    from afdctl.analysis import masking_plan
    from afdctl.evaluation import thresholds

    swept = {(curve.run, curve.norm) for curve in curves}
    found = [one for target in targets for one in masking_plan.judge(target, thresholds.defaults(), limit, first)]
    return [diagnosis for diagnosis in found if (diagnosis.run, diagnosis.norm) in swept]
