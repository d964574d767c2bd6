"""AutoAttack (Croce & Hein 2020, arXiv:2003.01690): its parts, and their worst case.

APGD and Square run through the classes of its authors' library. FAB-T is in `fab.py`. A batch has one stream of
random numbers, as in the library, so unlike elsewhere a result depends on the batch's size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any, Final
from weakref import proxy

import torch
from torch import Tensor

from afdctl.attacks.base import AttackResult, Model, margin, target_margins
from afdctl.attacks.cascade import cascade, within
from afdctl.attacks.fab import fab_t
from afdctl.attacks.norms import per_sample
from afdctl.attacks.query_counter import CountingModel, NullLogger, library, seed_global_rng
from afdctl.attacks.sample_rng import SampleRNG

LIBRARY_NORMS: Final = {"linf": "Linf", "l2": "L2", "l1": "L1"}
# APGD in l1 begins in larger balls: (radius in units of epsilon, share of the steps)
L1_RADII: Final = ((3, 0.3), (2, 0.3), (1, 0.4))


def aa(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str,
    parts: Sequence[tuple[str, Mapping[str, Any]]],
) -> AttackResult:
    """Run the evaluation on one batch; the version standard has the library's x' bit by bit for the seed `rng.seed`.

    `parts` are attacks by name with their keyword arguments, in the order that `suites.schema.AA.parts` has. Unlike the
    library this works for fewer than ten classes. `first_success_step` counts within the part that fooled the model.
    """

    def run(name: str, kwargs: Mapping[str, Any], rows: Tensor) -> AttackResult:
        part_rng = rng.select(rows)
        if name == "fab_t":
            # one class at a time, so that a fooled sample is not searched for the next class
            result = fab_t(model, x[rows], y[rows], rng=part_rng, max_batch=1, stop_within=epsilon, **kwargs)
            return within(result, x[rows], epsilon, norm)
        return BUDGET_PARTS[name](model, x[rows], y[rows], epsilon=epsilon, rng=part_rng, **kwargs)

    return cascade(x, [partial(run, name, kwargs) for name, kwargs in parts])


def apgd_ce(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str,
    steps: int,
    restarts: int,
    eot: int = 1,
    loss: str = "ce",
) -> AttackResult:
    """Run APGD on the cross-entropy. Where nothing fools the model, x' has the largest loss of the last restart.

    Gradients are means of `eot` passes.
    """
    counter = CountingModel(model, x, y, eot)
    attack = _apgd("APGDAttack", counter, epsilon, norm, steps, loss=loss)
    if counter.logits.shape[1] < 3:
        # the DLR loss divides by a difference of three logits; see `apgd_t`
        attack.dlr_loss = margin
    return _run_apgd(counter, attack, rng.seed, [None] * restarts)


# on the difference of logits ratio (DLR), the second part of AutoAttack's version rand
apgd_dlr = partial(apgd_ce, loss="dlr")


def apgd_l1(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str,
    steps: int,
    restarts: int,
    eot: int = 1,
) -> AttackResult:
    """Run APGD on the cross-entropy in l1, with its sparse steps (Croce & Hein 2021, arXiv:2103.01208)."""
    assert norm == "l1"
    return apgd_ce(model, x, y, epsilon=epsilon, rng=rng, norm=norm, steps=steps, restarts=restarts, eot=eot)


def apgd_t(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    rng: SampleRNG,
    norm: str,
    steps: int,
    targets: int,
    eot: int = 1,
) -> AttackResult:
    """Run APGD on the targeted DLR loss, towards the likeliest `targets` other classes until one fools the model.

    That loss divides a margin by differences of four logits. With fewer classes the margin is used alone: for a sample
    it has the same gradient up to a factor, and APGD's steps do not depend on the gradient's length.
    """
    counter = CountingModel(model, x, y, eot)
    attack = _apgd("APGDAttack_targeted", counter, epsilon, norm, steps)
    if counter.logits.shape[1] < 4:
        attack.dlr_loss_targeted = partial(_target_margin, proxy(attack))
    order = counter.logits.sort(dim=1)[1]
    return _run_apgd(counter, attack, rng.seed, [order[:, -rank] for rank in counter.target_ranks(targets)])


def square(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, rng: SampleRNG, norm: str, queries: int
) -> AttackResult:
    """Run Square (Andriushchenko et al. 2020, arXiv:1912.00049): random search with `queries` after the start.

    It uses no gradients. Where it has no start (`square_starts`) it finds nothing.
    """
    counter = CountingModel(model, x, y)
    rows = counter.remaining()
    if len(rows) and square_starts(norm, *x.shape[2:]):
        x_rows, y_rows = counter.focus(rows)
        with seed_global_rng(rng.seed, x.device):
            used, x_adv = _square(counter, epsilon, norm, queries).attack_single_run(x_rows, y_rows)
        counter.record_results(x_adv, used.long())
    return counter.verified_result()


def square_starts(norm: str, height: int, width: int) -> bool:
    """Return whether Square can start on images of this size.

    In l2 and l1 it starts from a tiling. The library's tiles, a fifth of the height wide, must end at the image's edge,
    or be single pixels.
    """
    if norm == "linf":
        return True
    tile = height // 5
    start = (height - 5 * tile) // 2
    return tile == 1 or (tile > 1 and all(start + side // tile * tile <= side for side in (height, width)))


# the parts of `aa` that take an epsilon
BUDGET_PARTS: Final[Mapping[str, Callable[..., AttackResult]]] = {
    "apgd_ce": apgd_ce,
    "apgd_dlr": apgd_dlr,
    "apgd_t": apgd_t,
    "square": square,
}


def _apgd(name: str, counter: CountingModel, epsilon: float, norm: str, steps: int, **settings: Any) -> Any:
    attack = getattr(library("autopgd_base"), name)(
        counter,
        n_iter=steps,
        norm=LIBRARY_NORMS[norm],
        eps=epsilon,
        eot_iter=counter.evaluations,
        device=counter.x.device,
        logger=NullLogger(),
        **settings,
    )
    attack.init_hyperparam(counter.x)
    # three radii need at least three steps
    attack.use_largereps = norm == "l1" and steps >= len(L1_RADII)
    # the attack holds the model: a reference back would keep a batch in memory until the next garbage collection
    weak = proxy(attack)
    if counter.evaluations == 1:
        # in the larger balls of l1 an iterate that fools the model is no success
        counter.track_success = lambda: bool(weak.eps == epsilon)
    return attack


def _run_apgd(counter: CountingModel, attack: Any, seed: int, targets: Iterable[Tensor | None]) -> AttackResult:
    """Run the attack once for each of `targets`, classes (n,) to aim at or None, on the samples not fooled yet."""
    run = _with_shrinking_radius(attack) if attack.use_largereps else attack.attack_single_run
    with seed_global_rng(seed, counter.x.device):
        for target in targets:
            rows = counter.remaining()
            if not len(rows):
                break
            attack.y_target = None if target is None else target[rows]
            x, y = counter.focus(rows)
            worst, _, _, fooling = run(x, y)
            if counter.evaluations > 1:
                # `fooling` fooled a single pass of a random model
                for x_adv in (fooling, worst):
                    counter.record_votes(x_adv)
                unfooled = ~counter.result.fooled[rows]
                counter.result.x_adv[rows[unfooled]] = worst[unfooled]
                continue
            fooled = per_sample(counter.result.fooled[rows], x)
            counter.result.x_adv[rows] = torch.where(fooled, fooling, worst)
    return counter.verified_result()


def _with_shrinking_radius(attack: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    radii = [radius * attack.eps for radius, _ in L1_RADII]
    steps = [ceil(share * attack.n_iter) for _, share in L1_RADII[:-1]]
    return partial(attack.decr_eps_pgd, epss=radii, iters=[*steps, attack.n_iter - sum(steps)])


def _target_margin(attack: Any, logits: Tensor, y: Tensor) -> Tensor:
    return target_margins(logits, y, attack.y_target[:, None])[:, 0]


def _square(counter: CountingModel, epsilon: float, norm: str, queries: int) -> Any:
    attack = library("square").SquareAttack(
        counter.forward_uncounted,
        norm=LIBRARY_NORMS[norm],
        n_queries=queries,
        eps=epsilon,
        # as in the standard version
        resc_schedule=False,
        device=counter.x.device,
    )
    attack.init_hyperparam(counter.x)
    attack.margin_and_loss = partial(_finite_margins, counter.forward_uncounted)
    return attack


def _finite_margins(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return y's logit minus the largest other (n,), which is Square's margin and loss in one.

    The library's own margin of a NaN spreads to the best one so far and ends the sample's search. Here a NaN is the
    worst answer, and the search continues.
    """
    margins = -margin(model(x), y)
    margins = margins.nan_to_num(nan=torch.finfo(margins.dtype).max)
    return margins, margins
