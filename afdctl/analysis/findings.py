"""What an indicator of the masking diagnosis finds."""

from dataclasses import dataclass
from typing import Final, Literal

from afdctl.evaluation.thresholds import Gap, Thresholds
from afdctl.journal import Row

Verdict = Literal["ok", "warn", "fail", "missing"]
Side = Literal["above", "below"]
Sign = Literal["masking", "weak"]
SEVERITY: Final = ("ok", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One indicator: its value, the threshold beyond which it fails, the verdict and one plain sentence.

    It fails on the side `fails` of the threshold. The threshold of a warning is the one that the value is beyond.
    `sign`: a failure shows "masking" (or invalid results), or only that the attack `weak` is too "weak".
    """

    indicator: str
    name: str
    sign: Sign
    value: float | None
    threshold: float
    verdict: Verdict
    text: str
    fails: Side = "above"
    weak: str | None = None

    @property
    def bound(self) -> str:
        """The values that are ok, as tables show them: `≤ 0.05`."""
        return f"{'≤' if self.fails == 'above' else '≥'} {self.threshold:.4g}"


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


def by_gap(
    indicator: str, name: str, count: int, n: int, limits: Thresholds, gap: Gap, text: str, weak: str
) -> Finding:
    """Judge on how many of n images the attack `weak` is above another.

    It has two thresholds: of a warning and of a failure.
    """
    warned, failed = (limits.exceeded(count, n, share) for share in (gap.warn, gap.fail))
    return Finding(
        indicator=indicator,
        name=name,
        sign="weak",
        value=count / n,
        threshold=gap.warn if warned and not failed else gap.fail,
        verdict="fail" if failed else "warn" if warned else "ok",
        text=text + limits.coincidence(count, n, gap.warn),
        weak=weak,
    )


def is_random(check: Row, limits: Thresholds) -> bool:
    """Return whether the network's check saw two passes of the same images differ."""
    return "measures" in check and check["measures"]["passes"] > limits.D2.passes
