"""The indicators D1 to D5: of the network's outputs, and of each attack by itself."""

from itertools import pairwise
from typing import Final

from afdctl.analysis.attack_evidence import AttackEvidence
from afdctl.analysis.evidence import CROSS_ENTROPY, ONE_STEP, Evidence
from afdctl.analysis.findings import SEVERITY, Finding, Side, Verdict, is_random, missing
from afdctl.evaluation.sanity_checks import Measures
from afdctl.evaluation.thresholds import Thresholds
from afdctl.formatting import describe_short_reach, format_count, format_epsilon
from afdctl.journal import Row

# the conditions of D3, which are counted in images
CONDITIONS: Final = {
    "dead gradients": "have no gradient that an attack could follow",
    "dead CE gradients": "have no gradient of the cross-entropy",
    "downhill gradients": "have a gradient that leads downhill",
    "flat margin": "have a margin that small noise does not change",
}


def invalid(evidence: Evidence, limits: Thresholds) -> Finding:
    """D1: adversarial images outside their ball, NaN logits, and successes that float32 does not confirm."""
    excess, unconfirmed, nan = 0.0, 0, evidence.nan
    for epsilon in evidence.epsilons:
        for attack in evidence.at(epsilon):
            excess = max(excess, float(attack.column(epsilon, "norm").max()) / epsilon - 1)
            # a transferred image may fool its source alone
            if attack.source is None:
                unconfirmed = max(unconfirmed, int((attack.claims(epsilon) & attack.robust(epsilon)).sum()))
    n, share = evidence.n, limits.D1.unconfirmed
    value, threshold = unconfirmed / n, share
    if nan:
        # a single one makes the results invalid
        value, threshold = nan / n, 0.0
        text = f"{nan} of {n} images have a NaN logit, which counts as not robust"
    elif excess > limits.D1.excess:
        value, threshold = excess, limits.D1.excess
        text = f"an adversarial image is outside its ball by {100 * excess:.3g} % of epsilon"
    else:
        refuted = f"{unconfirmed} of {n} images" if unconfirmed else "no image"
        text = f"every x' is in its ball, and float32 refutes a claimed success for {refuted}"
        text += limits.coincidence(unconfirmed, n, share)
    failed = nan or excess > limits.D1.excess or limits.exceeded(unconfirmed, n, share)
    return Finding(
        indicator="D1",
        name="invalid images",
        sign="masking",
        value=value,
        threshold=threshold,
        verdict="fail" if failed else "ok",
        text=text,
    )


def unstable(evidence: Evidence, check: Row, limits: Thresholds) -> Finding:
    """D2: two passes of the same images differ, or an image's outputs depend on its batch."""
    if "measures" not in check:
        return missing("D2", "unstable outputs", "masking", limits.D2.passes, "the network's sanity check")
    measures = Measures(**check["measures"])
    random, by_batch = is_random(check, limits), measures.batch > limits.D2.batch
    text = "the same image always gets the same outputs"
    if random:
        text = "two passes of the same image differ: attacks follow noise, unless they average it "
        text += f"({_averaging(evidence)})"
    elif by_batch:
        text = "an image's outputs depend on the other images of its batch"
    return Finding(
        indicator="D2",
        name="unstable outputs",
        sign="masking",
        value=measures.passes if random or not by_batch else measures.batch,
        threshold=limits.D2.batch if by_batch and not random else limits.D2.passes,
        verdict="fail" if random or by_batch else "ok",
        text=text,
    )


def _averaging(evidence: Evidence) -> str:
    """Say what an attack that averages the passes leaves, or how to run one."""
    epsilon = evidence.epsilons[0]
    at = format_epsilon(epsilon)
    if found := [attack for attack in evidence.at(epsilon) if attack.averages]:
        strongest = min(found, key=lambda attack: attack.robust(epsilon).sum())
        left = strongest.robust(epsilon).mean()
        return f"{strongest.title} with eot={strongest.spec['eot']} does, and leaves {left:.1%} at {at}"
    if evidence.norm == "l0":
        return "the setting eot, which no attack in this norm has"
    return f"`afdctl attack {evidence.run} --attack pgd_{evidence.norm} --epsilon {at} --set eot=20`"


def gradients(check: Row, limits: Thresholds, *, misled: bool) -> Finding:
    """D3: gradients that are dead or lead downhill, a flat margin, outputs that are probabilities or nearly equal.

    Nearly equal outputs are a fault only where attacks on the cross-entropy are `misled`, as D7 shows.
    """
    if "measures" not in check:
        return missing("D3", "dead gradients", "masking", limits.D3.dead, "the network's sanity check")
    measures, limit = Measures(**check["measures"]), limits.D3
    n = measures.n
    counts = {
        "dead gradients": (n if measures.no_gradient else measures.dead_margin, limit.dead),
        "dead CE gradients": (0 if measures.no_gradient else measures.dead_ce, limit.dead),
        # a random network's outputs also fall by chance
        "downhill gradients": (0 if is_random(check, limits) else measures.misled, limit.misled),
        "flat margin": (measures.flat, limit.flat),
    }
    faults = [name for name, (count, share) in counts.items() if limits.exceeded(count, n, share)]
    name = max(faults or counts, key=lambda name: counts[name][0] / max(counts[name][1], 1e-9))
    count, threshold = counts[name]
    value = count / n
    fails: Side = "above"
    sentences = [f"{counts[fault][0]} of {n} checked images {CONDITIONS[fault]}" for fault in faults]
    uniform = measures.confidence < limit.confidence and not measures.probabilities
    if measures.probabilities:
        sentences.append("the outputs are probabilities, whose gradients vanish")
        if not faults:
            name, value, threshold = "probabilities", 1.0, 0.0
    if uniform:
        sentences.append(
            f"all classes are about equally likely (confidence {measures.confidence:.2g}, below {limit.confidence:g}), "
            "so the cross-entropy misleads attacks"
        )
        if not faults:
            name, value, threshold, fails = "equal outputs", measures.confidence, limit.confidence, "below"
    raised = "" if is_random(check, limits) else ", and a step along it raises the loss"
    few = f"every checked image has a gradient{raised}"
    if count:
        few = f"{count} of {n} checked images {CONDITIONS.get(name)}{limits.coincidence(count, n, threshold)}"
    failed = bool(faults) or measures.probabilities or (uniform and misled)
    return Finding(
        indicator="D3",
        name=name,
        sign="masking",
        value=value,
        threshold=threshold,
        fails=fails,
        verdict="fail" if failed else "warn" if uniform else "ok",
        text="; ".join(sentences) or few,
    )


def unfinished(evidence: Evidence, limits: Thresholds) -> Finding:
    """D4: steps that cannot cross the ball, or that still succeed when they end."""
    late: dict[str, tuple[int, int]] = {}
    tried = False
    for epsilon in evidence.epsilons:
        for attack in evidence.named(("pgd_linf", "pgd_l2", "pgd_l1", "mim"), epsilon):
            place = f"{attack.title} at {format_epsilon(epsilon)}"
            reach, needed = attack.reach(epsilon)
            if text := describe_short_reach(place, attack.spec["steps"], reach, needed):
                return _too_short(text, reach, needed, "PGD-CE" if attack.name in CROSS_ENTROPY else attack.title)
            # with restarts a step's number goes beyond `steps`
            if attack.spec.get("restarts", 1) == 1:
                tried = True
                steps = attack.column(epsilon, "first_success")[attack.fooled(epsilon)]
                if len(steps) >= limits.images:
                    late[place] = int((steps > 0.9 * attack.spec["steps"]).sum()), len(steps)
    if not late:
        few = f"PGD or MIM that fools {format_count(limits.images, 'image')} or more; those here fool fewer"
        needs = few if tried else "PGD or MIM without restarts"
        return missing("D4", "unfinished attack", "weak", limits.D4.late, needs)

    def too_many(place: str) -> bool:
        return limits.exceeded(*late[place], limits.D4.late)

    latest = max(late, key=lambda place: (too_many(place), late[place][0] / late[place][1]))
    count, n = late[latest]
    return Finding(
        indicator="D4",
        name="unfinished attack",
        sign="weak",
        value=count / n,
        threshold=limits.D4.late,
        verdict="warn" if too_many(latest) else "ok",
        text=f"{count / n:.1%} of the successes of {latest} are of the last tenth of its steps"
        + ("; take more" if too_many(latest) else limits.coincidence(count, n, limits.D4.late)),
    )


def _too_short(text: str, reach: float, needed: float, weak: str) -> Finding:
    return Finding(
        indicator="D4",
        name="short steps",
        sign="weak",
        value=reach,
        threshold=needed,
        fails="below",
        verdict="fail",
        text=text,
        weak=weak,
    )


def not_monotone(evidence: Evidence, limits: Thresholds) -> Finding:
    """D5: images fooled at an epsilon, but not at the next larger one, where each is attacked separately."""
    found: list[tuple[int, AttackEvidence, float, float]] = []
    for attack in evidence.attacks:
        if attack.schedule == "independent" and attack.source is None:
            for low, high in pairwise(attack.epsilons):
                if high in evidence.epsilons:
                    count = int((attack.fooled(low) & attack.robust(high)).sum())
                    found.append((count, attack, low, high))
    if not found:
        return missing("D5", "not monotone", "masking", limits.D5.share, "an independent attack at two epsilons")

    def judge(count: int, attack: AttackEvidence) -> tuple[float, Verdict]:
        # one long step leaves the region that fools on sound networks too
        one_step = attack.name in ONE_STEP
        share = limits.D5.one_step if one_step else limits.D5.share
        exceeded = limits.exceeded(count, evidence.n, share)
        return share, "ok" if not exceeded else "warn" if one_step else "fail"

    count, attack, low, high = max(found, key=lambda one: (SEVERITY.index(judge(*one[:2])[1]), one[0]))
    share, verdict = judge(count, attack)
    balls = f"at {format_epsilon(low)}, but not at {format_epsilon(high)}"
    return Finding(
        indicator="D5",
        name="not monotone",
        sign="masking",
        value=count / evidence.n,
        threshold=share,
        verdict=verdict,
        text=f"{attack.title} fools {count} of {evidence.n} images {balls}"
        + limits.coincidence(count, evidence.n, share)
        if count
        else f"each image that {attack.title} fools, it also fools at the next larger epsilon",
    )
