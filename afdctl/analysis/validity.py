"""The indicators D1 to D5: of the network's outputs, and of each attack by itself."""

from afdctl.analysis.evidence import ONE_STEP, AttackEvidence, Evidence
from afdctl.analysis.findings import Finding, missing
from afdctl.evaluation.sanity_checks import Measures
from afdctl.evaluation.thresholds import Thresholds
from afdctl.formatting import format_count, format_epsilon
from afdctl.journal import Row


def invalid(evidence: Evidence, limits: Thresholds) -> Finding:
    """D1: adversarial images outside their ball, NaN logits, and successes that float32 does not confirm."""
    excess, unconfirmed, nan = 0.0, 0, evidence.nan
    for attack in evidence.attacks:
        for epsilon in attack.epsilons:
            excess = max(excess, float(attack.column(epsilon, "norm").max()) / epsilon - 1)
            # a transferred image may fool its source alone
            if attack.source is None:
                unconfirmed = max(unconfirmed, int((attack.claims(epsilon) & attack.robust(epsilon)).sum()))
    n, share = evidence.n, limits.D1.unconfirmed
    value, threshold = max(unconfirmed, nan) / n, share
    if nan:
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
    random, by_batch = measures.passes > limits.D2.passes, measures.batch > limits.D2.batch
    text = "the same image always gets the same outputs"
    if random:
        averaging = f"`afdctl attack RUN --attack pgd_{evidence.norm} --epsilon {evidence.epsilons[0]:g} --set eot=20`"
        if evidence.norm == "l0":
            averaging = "the setting eot, which no attack in this norm has"
        text = f"two passes of the same image differ: attacks follow noise, unless they average it ({averaging})"
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


def gradients(check: Row, limits: Thresholds, gap: float) -> Finding:
    """D3: gradients that are dead or lead downhill, a flat margin, outputs that are probabilities or nearly equal.

    Nearly equal outputs are a fault only where PGD on the cross-entropy overestimates by a `gap`.
    """
    if "measures" not in check:
        return missing("D3", "dead gradients", "masking", limits.D3.dead, "the network's sanity check")
    measures, limit = Measures(**check["measures"]), limits.D3
    n = measures.n
    counts = {
        "have no gradient that an attack could follow": (
            n if measures.no_gradient else measures.dead_margin,
            limit.dead,
        ),
        "have no gradient of the cross-entropy": (0 if measures.no_gradient else measures.dead_ce, limit.dead),
        # a random network's outputs also fall by chance
        "have a gradient that leads downhill": (
            0 if measures.passes > limits.D2.passes else measures.misled,
            limit.misled,
        ),
        "have a margin that small noise does not change": (measures.flat, limit.flat),
    }
    faults = {text: count for text, (count, share) in counts.items() if limits.exceeded(count, n, share)}
    largest = max(counts, key=lambda text: counts[text][0] / max(counts[text][1], 1e-9))
    uniform = measures.confidence < limit.confidence and not measures.probabilities
    sentences = [f"{count} of {n} checked images {text}" for text, count in faults.items()]
    if measures.probabilities:
        sentences.append("the outputs are probabilities, whose gradients vanish")
    if uniform:
        sentences.append(
            f"all classes are about equally likely (confidence {measures.confidence:.2g}, below {limit.confidence:g}), "
            "so the cross-entropy misleads attacks"
        )
    value, threshold = counts[largest][0] / n, counts[largest][1]
    few = "a step along the gradient raises the loss of every checked image"
    if count := counts[largest][0]:
        few = f"{count} of {n} checked images {largest}{limits.coincidence(count, n, threshold)}"
    failed = bool(faults) or measures.probabilities or (uniform and gap > limits.D7.warn)
    if uniform and not faults:
        value, threshold = measures.confidence, limit.confidence
    return Finding(
        indicator="D3",
        name="dead gradients",
        sign="masking",
        value=value,
        threshold=threshold,
        verdict="fail" if failed else "warn" if uniform else "ok",
        text="; ".join(sentences) or few,
    )


def unfinished(evidence: Evidence, limits: Thresholds) -> Finding:
    """D4: steps that cannot cross the ball, or that still succeed when they end."""
    late: dict[str, float] = {}
    short: list[str] = []
    tried = False
    for epsilon in evidence.epsilons:
        for attack in evidence.named(("pgd_linf", "pgd_l2", "pgd_l1", "mim"), epsilon):
            if attack.short_reach(epsilon):
                short.append(f"{attack.title} at {format_epsilon(epsilon)}")
            steps = attack.column(epsilon, "first_success")[attack.fooled(epsilon)]
            # with restarts a step's number goes beyond `steps`
            if attack.spec.get("restarts", 1) == 1:
                tried = True
                if len(steps) >= limits.images:
                    share = float((steps > 0.9 * attack.spec["steps"]).mean())
                    late[f"{attack.title} at {format_epsilon(epsilon)}"] = share
    if not late and not short:
        few = f"PGD or MIM that fools {format_count(limits.images, 'image')} or more; those here fool fewer"
        needs = few if tried else "PGD or MIM without restarts"
        return missing("D4", "unfinished attack", "weak", limits.D4.late, needs)
    latest = max(late, key=lambda title: late[title]) if late else ""
    value = late.get(latest, 0.0)
    if short:
        text = f"the steps of {short[0]} cannot cross its ball"
    else:
        text = f"{value:.1%} of the successes of {latest} are of the last tenth of its steps"
        text += "; take more" if value > limits.D4.late else ""
    return Finding(
        indicator="D4",
        name="unfinished attack",
        sign="weak",
        value=value,
        threshold=limits.D4.late,
        verdict="fail" if short else "warn" if value > limits.D4.late else "ok",
        text=text,
    )


def not_monotone(evidence: Evidence, limits: Thresholds) -> Finding:
    """D5: images fooled at an epsilon, but not at the next larger one, where each is attacked separately."""
    counts: dict[AttackEvidence, int] = {}
    for attack in evidence.attacks:
        if attack.schedule == "independent" and attack.source is None and len(attack.epsilons) > 1:
            pairs = zip(attack.epsilons[:-1], attack.epsilons[1:], strict=True)
            counts[attack] = max(int((attack.fooled(low) & attack.robust(high)).sum()) for low, high in pairs)
    if not counts:
        return missing("D5", "not monotone", "masking", limits.D5.share, "an independent attack at two epsilons")
    worst = max(counts, key=lambda attack: counts[attack])
    one_step = worst.name in ONE_STEP
    share = limits.D5.one_step if one_step else limits.D5.share
    exceeded = limits.exceeded(counts[worst], evidence.n, share)
    return Finding(
        indicator="D5",
        name="not monotone",
        sign="masking",
        value=counts[worst] / evidence.n,
        threshold=share,
        # one long step leaves the region that fools on sound networks too
        verdict="ok" if not exceeded else "warn" if one_step else "fail",
        text=f"{worst.title} fools {counts[worst] or 'none'} of {evidence.n} images at an epsilon, but not at the next"
        + limits.coincidence(counts[worst], evidence.n, share),
    )
