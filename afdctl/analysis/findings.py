"""What an indicator of the masking diagnosis finds."""

from dataclasses import dataclass
from typing import Literal

from afdctl.evaluation.thresholds import Gap

Verdict = Literal["ok", "warn", "fail", "missing"]
Sign = Literal["masking", "weak"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One indicator: its value, the threshold beyond which it fails, the verdict and one plain sentence.

    The threshold of a warning is the one that the value is beyond.
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


def by_gap(indicator: str, name: str, value: float, limits: Gap, text: str) -> Finding:
    """Judge how far one attack is above another, which has two thresholds and is a sign of weak attacks only."""
    verdict: Verdict = "fail" if value > limits.fail else "warn" if value > limits.warn else "ok"
    threshold = limits.warn if verdict == "warn" else limits.fail
    return Finding(
        indicator=indicator, name=name, sign="weak", value=value, threshold=threshold, verdict=verdict, text=text
    )
