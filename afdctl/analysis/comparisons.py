"""The indicators D6 to D10: attacks compared image by image."""

from math import inf, sqrt

import numpy as np

from afdctl.analysis.evidence import MINIMUM_NORM, ONE_STEP, TARGETED, Evidence
from afdctl.analysis.findings import SEVERITY, Finding, by_gap, is_random, missing
from afdctl.evaluation.thresholds import Thresholds
from afdctl.formatting import format_epsilon
from afdctl.journal import Row
from afdctl.runs.shards import Array


def one_step(evidence: Evidence, limits: Thresholds) -> Finding:
    """D6: images that FGSM fools, but PGD does not."""
    counts: dict[float, tuple[int, bool]] = {}
    for epsilon in evidence.epsilons:
        pgd = evidence.pgd(epsilon)
        if pgd is None:
            continue
        for attack in evidence.named(ONE_STEP, epsilon):
            counts[epsilon] = int((attack.fooled(epsilon) & pgd.robust(epsilon)).sum()), pgd.short_reach(epsilon)
    if not counts:
        return missing("D6", "one step beats many", "masking", limits.D6.share, f"fgsm and PGD {evidence.place}")
    epsilon = max(counts, key=lambda epsilon: counts[epsilon][0])
    count, weak = counts[epsilon]
    exceeded = limits.exceeded(count, evidence.n, limits.D6.share)
    return Finding(
        indicator="D6",
        name="one step beats many",
        sign="masking",
        value=count / evidence.n,
        threshold=limits.D6.share,
        # a PGD that cannot cross its ball is weak by itself
        verdict="ok" if not exceeded else "warn" if weak else "fail",
        text=f"FGSM fools {count or 'none'} of {evidence.n} images at {format_epsilon(epsilon)} that PGD does not"
        + limits.coincidence(count, evidence.n, limits.D6.share)
        + ("; its steps cannot cross the ball" if exceeded and weak else ""),
    )


def gaps(evidence: Evidence) -> dict[float, int]:
    """Map each epsilon to how many images more are robust under PGD on the cross-entropy than in the worst case."""
    found = {epsilon: evidence.pgd(epsilon) for epsilon in evidence.epsilons}
    return {
        epsilon: int(pgd.robust(epsilon).sum() - evidence.worst(epsilon).sum())
        for epsilon, pgd in found.items()
        # one step is no comparison: it is weaker than PGD where nothing is masked
        if pgd and any(attack is not pgd and attack.name not in ONE_STEP for attack in evidence.at(epsilon))
    }


def overestimate(name: str, gap: float, epsilon: float, *, random: bool) -> str:
    """Say by how much an attack overestimates the robustness of a network, which may be random."""
    at = f"at {format_epsilon(epsilon)}"
    if gap <= 0:
        return f"{name} is as strong as the worst case {at}"
    luck = "; of a random network, the worst case also counts single unlucky passes" if random else ""
    return f"{name} overestimates robustness by {100 * gap:.1f} points {at}{luck}"


def loss_gap(evidence: Evidence, check: Row, limits: Thresholds) -> Finding:
    """D7: accuracy under PGD, and under APGD-CE, on the cross-entropy, above the worst case."""
    counts = {("PGD-CE", epsilon): count for epsilon, count in gaps(evidence).items()}
    for epsilon in evidence.epsilons:
        ce = evidence.ce_robust(epsilon)
        if ce is not None and evidence.named(TARGETED, epsilon):
            counts["APGD-CE", epsilon] = int(ce.sum() - evidence.worst(epsilon).sum())
    if not counts:
        return missing("D7", "loss gap", "weak", limits.D7.fail, f"PGD and a second attack {evidence.place}")
    name, epsilon = max(counts, key=lambda place: counts[place])
    count, n = counts[name, epsilon], evidence.n
    text = overestimate(name, count / n, epsilon, random=is_random(check, limits))
    return by_gap("D7", "loss gap", count, n, limits, limits.D7, text, name)


def gradient_free(evidence: Evidence, limits: Thresholds) -> Finding:
    """D8: images fooled without gradients, but by no attack with them; or by noise and transfers, but not by PGD."""
    found: list[tuple[float, Finding]] = []
    for epsilon in evidence.epsilons:
        white_box, pgd = evidence.white_box(epsilon), evidence.pgd(epsilon)
        for title, fooled in evidence.without_gradients(epsilon).items():
            if white_box:
                # PGD alone leaves images that other losses find
                strong = any(attack.name in TARGETED for attack in white_box[1])
                found.append(_gain(evidence, limits, title, epsilon, fooled & ~white_box[0], strong=strong))
            if pgd and not title.startswith("square") and not pgd.short_reach(epsilon):
                found.append(_gain(evidence, limits, title, epsilon, fooled & pgd.robust(epsilon), strong=None))
    if not found:
        needs = f"square, noise, surrogate or a transfer, and an attack with gradients, {evidence.place}"
        return missing("D8", "gain without gradients", "masking", limits.D8.share, needs)
    return max(found, key=lambda scored: (SEVERITY.index(scored[1].verdict), scored[0]))[1]


def _gain(
    evidence: Evidence, limits: Thresholds, title: str, epsilon: float, gained: Array, *, strong: bool | None
) -> tuple[float, Finding]:
    """Judge the images that an attack without gradients gained (n,) over attacks with them; `strong` None: over PGD."""
    count, share = int(gained.sum()), limits.D8.share if strong is not None else limits.D8.pgd
    exceeded = limits.exceeded(count, evidence.n, share)
    others = "PGD does not" if strong is None else "no attack with gradients does"
    finding = Finding(
        indicator="D8",
        name="gain without gradients",
        sign="masking",
        value=count / evidence.n,
        threshold=share,
        verdict="ok" if not exceeded else "warn" if strong is False else "fail",
        text=f"{title} fools {count or 'none'} of {evidence.n} images at {format_epsilon(epsilon)} that {others}"
        + limits.coincidence(count, evidence.n, share)
        + ("; no targeted attack is among these" if exceeded and strong is False else ""),
    )
    return count / evidence.n / max(share, 1e-9), finding


def impossible(evidence: Evidence, check: Row, limits: Thresholds) -> Finding:
    """D9: an accuracy above that of the largest class in a ball that has one grey image in common for all."""
    # without a check no radius but that of L-infinity is known, and no accuracy is impossible
    pixels = check.get("pixels") or inf
    radius = {"linf": 0.5, "l2": sqrt(pixels) / 2, "l1": pixels / 2, "l0": pixels}[evidence.norm]
    prior = float(np.bincount(evidence.labels).max()) / evidence.n
    bound = min(1.0, prior + limits.D9.deviations * sqrt(prior * (1 - prior) / evidence.n))
    counts = {
        epsilon: int((~white[0] & (evidence.clean == evidence.labels)).sum())
        # grey images are as near wherever the other indicators judge
        for epsilon in evidence.grid
        if epsilon >= radius and (white := evidence.white_box(epsilon))
    }
    if not counts:
        needs = f"an attack at {format_epsilon(radius)} or more" if radius < inf else "the network's sanity check"
        return missing("D9", "impossible accuracy", "masking", bound, needs)
    epsilon = max(counts, key=lambda epsilon: counts[epsilon])
    count, n = counts[epsilon], evidence.n
    return Finding(
        indicator="D9",
        name="impossible accuracy",
        sign="masking",
        value=count / n,
        threshold=bound,
        verdict="fail" if limits.exceeded(count, n, bound) else "ok",
        text=f"attacks leave {count / n:.1%} at {format_epsilon(epsilon)}, where every image can become the same "
        f"grey; the largest class has {prior:.1%}, and {bound:.1%} with the margin for few images"
        + limits.coincidence(count, n, bound),
    )


def dominance(evidence: Evidence, limits: Thresholds) -> Finding:
    """D10: accuracy under PGD above that under an attack that minimises the norm."""
    counts: dict[tuple[str, float], int] = {}
    for epsilon in evidence.epsilons:
        pgd = evidence.pgd(epsilon)
        if pgd is None:
            continue
        for attack in evidence.named(MINIMUM_NORM, epsilon):
            more = int(pgd.robust(epsilon).sum() - attack.robust(epsilon).sum())
            counts[f"{attack.title} leaves {{:.1f}} points less than {pgd.title}", epsilon] = more
    if not counts:
        names = f"PGD and deepfool, fab_t or ddn {evidence.place}"
        return missing("D10", "cross-attack dominance", "weak", limits.D10.fail, names)
    text, epsilon = max(counts, key=lambda place: counts[place])
    count, n = counts[text, epsilon], evidence.n
    text = text.format(100 * count / n) if count > 0 else "PGD is as strong as the attacks that minimise the norm"
    text = f"{text} at {format_epsilon(epsilon)}"
    return by_gap("D10", "cross-attack dominance", count, n, limits, limits.D10, text, "PGD-CE")
