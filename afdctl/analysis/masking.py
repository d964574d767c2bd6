"""Ten indicators of a robustness that only looks so: masked gradients, weak attacks, invalid results.

Sources: Athalye et al. 2018 (arXiv:1802.00420), Carlini et al. 2019 (arXiv:1902.06705), Croce & Hein 2020
(arXiv:2003.01690), Pintor et al. 2022 (arXiv:2106.09947). No indicator proves robustness.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from afdctl.analysis import comparisons, validity
from afdctl.analysis.evidence import MINIMUM_NORM, TARGETED, Evidence
from afdctl.analysis.findings import Finding, is_random
from afdctl.evaluation import thresholds
from afdctl.evaluation.thresholds import Thresholds
from afdctl.formatting import NORM_LABELS, format_epsilon
from afdctl.journal import Row
from afdctl.runs import shards
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.suites.attack_config import AttackConfig

# the indicators that compare attacks at the same epsilon
COMPARISONS: Final = frozenset({"D6", "D7", "D8", "D10"})
Verdict = Literal["masked", "overestimated", "no sign"]
# no indicator can find an attack that was not tried
CAVEAT: Final = "No indicator proves robustness: an attack adapted to this model may still succeed."
# attacks that serve the same purpose here
PURPOSES: Final = (MINIMUM_NORM, TARGETED, ("square", "aa"))
VERDICTS: Final[Mapping[Verdict, str]] = {
    "masked": "robustness is not shown: gradients are masked, or results are invalid",
    "overestimated": "no sign of masked gradients, but {} too weak",
    "no sign": "no sign of masked gradients",
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The ten indicators of one network in one norm, on the `n` test images that its attacks share.

    `overestimate` is by how much the accuracy under PGD on the cross-entropy exceeds the worst case at `epsilon`, where
    the difference is largest, and `overestimation` says so; all are None without such an attack. `asked` is the only
    epsilon that was judged at, None for all.
    """

    run: str
    norm: str
    n: int
    verdict: Verdict
    overestimate: float | None
    epsilon: float | None
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()
    overestimation: str | None = None
    asked: float | None = None

    @property
    def ball(self) -> str:
        """The norm, and the epsilon that was asked for."""
        return NORM_LABELS[self.norm] + ("" if self.asked is None else f" at {format_epsilon(self.asked)}")

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        failed = [found for found in self.findings if found.verdict == "fail"]
        weak = list(dict.fromkeys(found.weak for found in failed if found.weak))
        attacks = f"{' and '.join(weak)} {'is' if len(weak) == 1 else 'are'}"
        sentence = f"{self.run}, {self.ball}: {VERDICTS[self.verdict].format(attacks)}"
        signs = [found.indicator for found in failed]
        return f"{sentence} ({', '.join(signs)})" if signs else sentence

    @property
    def compares(self) -> bool:
        """Whether it has more to report than how little was measured: a comparison, a failure or a warning."""
        verdicts = [found.verdict for found in self.findings]
        return bool({"fail", "warn"} & set(verdicts)) or any(verdict != "missing" for verdict in verdicts[5:])

    @property
    def missing(self) -> list[str]:
        """The indicators that were not measured."""
        return [found.indicator for found in self.findings if found.verdict == "missing"]

    def as_json(self) -> dict[str, Any]:
        """Return what commands print with --json."""
        facts = {key: value for key, value in asdict(self).items() if key != "findings"}
        findings = [asdict(found) for found in self.findings]
        sentences = {"headline": self.headline, "caveat": CAVEAT}
        return facts | sentences | {"indicators": findings}


def diagnose(
    run: Run,
    curves: Sequence[RobustnessCurve],
    check: Row,
    *,
    limits: Thresholds | None = None,
    images: Collection[int] = (),
    epsilon: float | None = None,
) -> list[Diagnosis]:
    """Judge a run's network in each norm in which `curves` attack it; nothing is attacked.

    `check` is the journal's row of its sanity checks, `images` the numbers of the images to judge by in the test split,
    without which most attacks decide. With `epsilon`, nothing else is judged, and a norm in which no attacks can be
    compared there is left out. Error: CorruptError where a shard is damaged.
    """
    norms = dict.fromkeys(curve.norm for curve in curves)
    evidence = [Evidence.of(run, norm, curves, images, epsilon) for norm in norms]
    judged = limits or thresholds.defaults()
    found = [_judge(known, check, judged) for known in evidence if known]
    return [diagnosis for diagnosis in found if epsilon is None or COMPARISONS - set(diagnosis.missing)]


def of_record(record: Record) -> list[Diagnosis]:
    """Judge the networks of a run whose sanity checks its journal has, by their stored results."""
    # earlier versions of the checks did not count pixels
    checks = {row["checkpoint"]: row for row in record.of_kind("sanity_check") if "pixels" in row}
    return [
        diagnosis
        for digest, check in checks.items()
        for diagnosis in diagnose(record.run, intact_curves(record, digest), check)
    ]


def intact_curves(record: Record, digest: str) -> list[RobustnessCurve]:
    """Return the curves of a network that count, and whose shards are intact."""
    return [
        curve
        for curve in record.curves.values()
        if curve.checkpoint == digest and all(shards.intact(record.run, cell["shard"]) for cell in curve.cells)
    ]


def _judge(evidence: Evidence, check: Row, limits: Thresholds) -> Diagnosis:
    gaps = comparisons.gaps(evidence)
    epsilon = max(gaps, key=lambda epsilon: gaps[epsilon]) if gaps else None
    overestimate = None if epsilon is None else gaps[epsilon] / evidence.n
    overestimation = None
    if epsilon is not None and overestimate is not None:
        random = is_random(check, limits)
        overestimation = comparisons.overestimate("PGD-CE", overestimate, epsilon, random=random)
    loss_gap = comparisons.loss_gap(evidence, check, limits)
    findings = (
        validity.invalid(evidence, limits),
        validity.unstable(evidence, check, limits),
        validity.gradients(check, limits, misled=loss_gap.verdict in ("warn", "fail")),
        validity.unfinished(evidence, limits),
        validity.not_monotone(evidence, limits),
        comparisons.one_step(evidence, limits),
        loss_gap,
        comparisons.gradient_free(evidence, limits),
        comparisons.impossible(evidence, check, limits),
        comparisons.dominance(evidence, limits),
    )
    failed = {found.sign for found in findings if found.verdict == "fail"}
    verdict: Verdict = "masked" if "masking" in failed else "overestimated" if failed else "no sign"
    return Diagnosis(
        run=evidence.run,
        norm=evidence.norm,
        n=evidence.n,
        verdict=verdict,
        overestimate=overestimate,
        epsilon=epsilon,
        findings=findings,
        warnings=tuple(check.get("warnings", ())),
        overestimation=overestimation,
        asked=evidence.asked,
    )


def missing_attacks(attacks: Sequence[AttackConfig], curves: Sequence[RobustnessCurve]) -> list[AttackConfig]:
    """Return those of `attacks` at whose largest epsilon no stored curve serves the same purpose."""
    return [config for config in attacks if not any(_serves(curve, config) for curve in curves)]


def _serves(curve: RobustnessCurve, config: AttackConfig) -> bool:
    same = {config.name, *(name for names in PURPOSES if config.name in names for name in names)}
    if curve.norm != config.norm or curve.source or curve.cells[0]["spec"]["name"] not in same:
        return False
    return config.epsilons[-1] in curve.epsilons
