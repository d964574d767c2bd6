"""The masking diagnosis in a few sentences, below a sweep's table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afdctl.analysis.masking import Diagnosis


def short_form(diagnosis: "Diagnosis") -> str | None:
    """Return the diagnosis in a few sentences; None where the results allow no comparison."""
    from afdctl.analysis.masking import CAVEAT

    compared = [found for found in diagnosis.findings[5:] if found.verdict != "missing"]
    failed = [found for found in diagnosis.findings if found.verdict == "fail"]
    if not compared and not failed:
        return None
    sentences = [f"Masking: {diagnosis.headline.partition(': ')[2]}."]
    sentences += [f"{found.indicator}: {found.text}." for found in failed]
    if diagnosis.overestimation and not any(found.indicator == "D7" for found in failed):
        sentences.append(f"{diagnosis.overestimation}.")
    if diagnosis.missing:
        sentences.append(f"Not measured: {', '.join(diagnosis.missing)} (`afdctl analyze --masking` does).")
    return " ".join([*sentences, CAVEAT])
