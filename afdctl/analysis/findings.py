"""What an indicator of the masking diagnosis finds."""

from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["ok", "warn", "fail", "missing"]
Sign = Literal["masking", "weak"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One indicator: its value, the threshold beyond which it fails, the verdict and one plain sentence.

    `sign`: a failure shows "masking" (or invalid results), or only that the attacks are too "weak".
    """

    indicator: str
    name: str
    sign: Sign
    value: float | None
    threshold: float
    verdict: Verdict
    text: str


def missing(indicator: str, name: str, sign: Sign, threshold: float, needs: str) -> Finding:
    """Return the finding of an indicator that lacks what it `needs`."""
    return Finding(
        indicator=indicator,
        name=name,
        sign=sign,
        value=None,
        threshold=threshold,
        verdict="missing",
        text=f"not measured: needs {needs}",
    )


def by_gap(finding: Finding, warn: float) -> Finding:
    """Return the finding with the verdict of its value, which has two thresholds."""
    value = finding.value or 0.0
    verdict: Verdict = "fail" if value > finding.threshold else "warn" if value > warn else "ok"
    return replace(finding, verdict=verdict)
