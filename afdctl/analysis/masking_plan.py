"""Which attacks the masking diagnosis runs where a target has no stored results that serve the purpose."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, Final

from afdctl import recipe
from afdctl.analysis.masking import Diagnosis, diagnose, intact_curves, missing_attacks
from afdctl.data.subset import Subset
from afdctl.errors import RecipeError
from afdctl.evaluation.request import EvaluationRequest
from afdctl.evaluation.runner import SweepRunner
from afdctl.evaluation.target import EvaluationTarget
from afdctl.evaluation.thresholds import Thresholds
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.record import Record
from afdctl.suites import load
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.load import Suite

# images without stored results: enough for a gap of a few points
IMAGES: Final = 500
QUERIES: Final = 1000
ATTACKS: Final = {
    "linf": ("fgsm", "pgd_linf", "apgd_t", "deepfool", "square", "noise", "surrogate"),
    "l2": ("pgd_l2", "apgd_t", "ddn", "square", "noise", "surrogate"),
}
# in a ball of this radius, as a share of the largest distance of two images, all images can become the same grey one
GREY: Final = 0.5


def stored_curves(target: EvaluationTarget) -> list[RobustnessCurve]:
    """Return the curves of a target's network that count, and whose shards are intact."""
    return intact_curves(Record.of(target.run, target.digest), target.digest)


def nominal_ball(target: EvaluationTarget, epsilon: float | None) -> tuple[str, float]:
    """Return norm and radius: `epsilon` if given, the training's, or the one that the suite `strong` centres on.

    Error: RecipeError for an epsilon that no image allows.
    """
    if text := target.run.recipe_text:
        attack = recipe.loads(text).attack
        norm, usual = str(attack.norm), attack.epsilon
    else:
        (aa,) = load.load(load.DEFAULT, target.dataset, attacks=["aa"]).attacks
        norm, usual = str(aa.norm), aa.epsilons[-2]
    radius = epsilon or usual
    if norm == "linf" and radius > 1:
        raise RecipeError(f"epsilon {radius:g}: images are in [0, 1]; did you mean {radius:g}/255?")
    return norm, radius


def planned(target: EvaluationTarget, epsilon: float | None) -> list[AttackConfig]:
    """Return all attacks that a diagnosis compares, in the norm of the target's ball. Error: RecipeError for L1."""
    norm, radius = nominal_ball(target, epsilon)
    if norm not in ATTACKS:
        raise RecipeError(
            f"{target.name}: no attacks are planned in {norm}; add --stored for what a sweep has measured"
        )

    def attacks(names: Sequence[str], grid: tuple[float, ...], **settings: Any) -> tuple[AttackConfig, ...]:
        return load.load(load.DEFAULT, target.dataset, attacks=names, epsilons=grid, overrides=settings).attacks

    first, *others = ATTACKS[norm]
    configs = [*attacks([first], (0.0, radius))]
    if first == "fgsm":
        # two epsilons show whether larger balls fool more
        configs = [*attacks([first], (0.0, radius / 2, radius))]
    for name in others:
        # `norm` where an attack has several
        given: dict[str, Any] = {} if name.startswith("pgd_") else {"norm": norm}
        configs += attacks([name], (0.0, radius), **given, **({"queries": QUERIES} if name == "square" else {}))
    pixels = target.split.x[0].numel()
    grey = GREY * (1.0 if norm == "linf" else sqrt(pixels))
    if grey > radius:
        (pgd,) = attacks([f"pgd_{norm}"], (0.0, radius, grey), schedule="independent")
        configs.append(pgd.model_copy(update={"label": "pgd_grey"}))
    return configs


def request_missing(
    target: EvaluationTarget, *, epsilon: float | None, limit: int | None, first: int | None, **options: Any
) -> EvaluationRequest | None:
    """Return what measures the attacks that are missing, on the images of the stored results; None for nothing.

    `limit` and `first` choose other images; `options` are others of `EvaluationRequest`.
    """
    curves = stored_curves(target)
    split_n = len(target.split)
    chosen = Subset.of(split_n, limit=limit, first=first)
    if limit is None and first is None:
        counts = [(curve.subset, curve.n) for curve in curves]
        rule, n = max(counts, key=lambda pair: (counts.count(pair), pair[1]), default=("sample", IMAGES))
        limit, first = (None, n) if rule == "first" else (n, None)
        chosen = Subset.of(split_n, limit=limit, first=first)
    usable = [curve for curve in curves if _has_images(curve, chosen)]
    missing = missing_attacks(planned(target, epsilon), usable)
    if not missing:
        return None
    suite = Suite("masking", tuple(missing))
    return EvaluationRequest(suites={target.dataset: suite}, limit=limit, first=first, **options)


def runner_of_missing(target: EvaluationTarget, **options: Any) -> SweepRunner | None:
    """Return what runs the attacks that a target lacks, with the options of `request_missing`; None for nothing."""
    request = request_missing(target, **options)
    if request is None:
        return None
    request.check([target])
    return request.runner([target])


def judge(
    target: EvaluationTarget, limits: Thresholds, limit: int | None, first: int | None, epsilon: float | None = None
) -> list[Diagnosis]:
    """Diagnose a target by its stored results, at one epsilon or all, on the images that `limit` or `first` chooses."""
    images = Subset.of(len(target.split), limit=limit, first=first).index.tolist() if limit or first else []
    return diagnose(target.run, stored_curves(target), target.check, limits=limits, images=images, epsilon=epsilon)


def _has_images(curve: RobustnessCurve, chosen: Subset) -> bool:
    """Return whether a curve has the chosen images: a sample begins with every smaller one."""
    return curve.subset == "all" or (curve.subset == chosen.rule and curve.n >= chosen.n)
