"""AutoAttack (Croce & Hein 2020): its parts one by one, and their worst case.

APGD and Square run through its authors' attack classes, FAB-T in a loop of our own, which takes the same steps bit by
bit in less time. A batch has one stream of random numbers, as there, so unlike elsewhere a result depends on the
batch's size.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import ceil
from typing import Any, Final
from weakref import proxy

import torch
from torch import Tensor

from afdctl.attacks import fab
from afdctl.attacks.base import NOT_FOUND, AttackResult, Model, margin, per_sample
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.query_counter import CountingModel, NullLogger, library, seed_global_rng
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.schema import AA

NORMS: Final = {"linf": "Linf", "l2": "L2", "l1": "L1"}
RADII: Final = ((3, 0.3), (2, 0.3), (1, 0.4))
"""In L1 APGD begins in larger balls: their radii in units of epsilon, and their shares of the steps."""


def apgd_ce(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: SampleRNG, norm: str, steps: int, restarts: int
) -> AttackResult:
    """APGD on the cross-entropy; where nothing fooled the model, x' has the largest loss of its last restart."""
    watched = CountingModel(model, x, y)
    attack = _apgd("APGDAttack", watched, epsilon, norm, steps)
    return _run(watched, attack, draws.seed, [None] * restarts)


def apgd_l1(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: SampleRNG, norm: str, steps: int, restarts: int
) -> AttackResult:
    """APGD on the cross-entropy in L1, with its sparse steps (Croce & Hein 2021)."""
    assert norm == "l1"
    return apgd_ce(model, x, y, epsilon=epsilon, draws=draws, norm=norm, steps=steps, restarts=restarts)


def apgd_t(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: SampleRNG, norm: str, steps: int, targets: int
) -> AttackResult:
    """APGD on the targeted DLR loss, for each of the likeliest `targets` other classes until one fools the model.

    That loss is divided by differences of four logits. With fewer classes its numerator, the margin, is taken alone:
    within a sample it has the same gradient up to a factor, and APGD's steps have a length of their own.
    """
    watched = CountingModel(model, x, y)
    attack = _apgd("APGDAttack_targeted", watched, epsilon, norm, steps)
    if watched.logits.shape[1] < 4:
        attack.dlr_loss_targeted = partial(_margin, proxy(attack))
    order = watched.logits.sort(dim=1)[1]
    return _run(watched, attack, draws.seed, [order[:, -rank] for rank in watched.ranks(targets)])


def square(
    model: Model, x: Tensor, y: Tensor, *, epsilon: float, draws: SampleRNG, norm: str, queries: int
) -> AttackResult:
    """Square (Andriushchenko et al. 2020): random search with `queries` after the start, no gradients.

    Where it has no start (`square_starts`) it finds nothing.
    """
    watched = CountingModel(model, x, y)
    rows = watched.standing()
    if len(rows) and square_starts(norm, *x.shape[2:]):
        x_rows, y_rows = watched.turn_to(rows)
        with seed_global_rng(draws.seed, x.device):
            count, x_adv = _square(watched, epsilon, norm, queries).attack_single_run(x_rows, y_rows)
        watched.settle(x_adv, count.long())
    return watched.verified()


def fab_t(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    draws: SampleRNG,
    norm: str,
    steps: int,
    targets: int,
    at_once: int | None = None,
) -> AttackResult:
    """FAB (Croce & Hein 2020) against each of the likeliest `targets` other classes: the nearest x' of all.

    It starts at x and so draws nothing, and no epsilon matters to it. Few samples run towards several classes together,
    so many that the model sees up to `at_once` images (by default n) in a call.
    """
    return fab.nearest(model, x, y, norm=norm, steps=steps, targets=targets, at_once=at_once or len(x))


def aa(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    draws: SampleRNG,
    norm: str,
    version: str,
    steps: int,
    queries: int,
    targets: int,
) -> AttackResult:
    """The library's standard evaluation of one batch, seeded with `draws.seed`: the same x', bit by bit.

    Unlike the library it also runs below ten classes. `first_success` counts within the part that fooled the model.
    """
    knobs: dict[str, Any] = {"norm": norm, "version": version, "steps": steps, "queries": queries, "targets": targets}
    attacks: dict[str, Callable[..., AttackResult]] = {"apgd_ce": apgd_ce, "apgd_t": apgd_t, "square": square}

    def run(part: AttackConfig, rows: Tensor) -> AttackResult:
        if part.minimises:
            found = fab.nearest(model, x[rows], y[rows], at_once=1, enough=epsilon, **part.attack_kwargs())
            return within(found, x[rows], epsilon, norm)
        attack = attacks[part.name]
        return attack(model, x[rows], y[rows], epsilon=epsilon, draws=draws.take(rows), **part.attack_kwargs())

    parts = AA(name="aa", epsilons=(0.0, epsilon), **knobs).parts()
    return cascade(x, [partial(run, part) for part in parts])


def cascade(x: Tensor, parts: Iterable[Callable[[Tensor], AttackResult]]) -> AttackResult:
    """The worst case of `parts`: each attacks the rows (m,) that none before it fooled; x' is x where none does."""
    found = AttackResult.nothing(x)
    for number, part in enumerate(parts):
        rows = (~found.fooled).nonzero()[:, 0]
        if not len(rows):
            break
        result = part(rows)
        result.part = torch.where(result.fooled, number, NOT_FOUND)
        result.x_adv = torch.where(per_sample(result.fooled, x), result.x_adv, x[rows])
        found.put(rows, result)
    return found


def within(found: AttackResult, x: Tensor, epsilon: float, norm: str) -> AttackResult:
    """The same with only those x' fooling that are in the ball."""
    near = lp_norm(found.x_adv - x, norm) <= epsilon
    first_success = torch.where(near, found.first_success, NOT_FOUND)
    return AttackResult(found.x_adv, first_success, found.forwards, found.backwards, found.part)


def _apgd(name: str, watched: CountingModel, epsilon: float, norm: str, steps: int) -> Any:
    attack = getattr(library("autopgd_base"), name)(
        watched, n_iter=steps, norm=NORMS[norm], eps=epsilon, device=watched.x.device, logger=NullLogger()
    )
    attack.init_hyperparam(watched.x)
    # three radii take three steps
    attack.use_largereps = norm == "l1" and steps >= len(RADII)
    # the attack holds the model: a reference back would keep a batch in memory until the next garbage collection
    weak = proxy(attack)
    watched.sees = lambda: bool(weak.eps == epsilon)
    return attack


def _run(watched: CountingModel, attack: Any, seed: int, targets: Iterable[Tensor | None]) -> AttackResult:
    """One run for each of `targets`, on who still stands: classes (n,) to aim at, or None for no aim."""
    run = _shrinking(attack) if attack.use_largereps else attack.attack_single_run
    with seed_global_rng(seed, watched.x.device):
        for target in targets:
            rows = watched.standing()
            if not len(rows):
                break
            attack.y_target = None if target is None else target[rows]
            x, y = watched.turn_to(rows)
            worst, _, _, fooling = run(x, y)
            fooled = per_sample(watched.found.fooled[rows], x)
            watched.found.x_adv[rows] = torch.where(fooled, fooling, worst)
    return watched.verified()


def _shrinking(attack: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    radii = [radius * attack.eps for radius, _ in RADII]
    steps = [ceil(share * attack.n_iter) for _, share in RADII[:-1]]
    return partial(attack.decr_eps_pgd, epss=radii, iters=[*steps, attack.n_iter - sum(steps)])


def _square(watched: CountingModel, epsilon: float, norm: str, queries: int) -> Any:
    attack = library("square").SquareAttack(
        watched.unseen, norm=NORMS[norm], n_queries=queries, eps=epsilon, resc_schedule=False, device=watched.x.device
    )
    attack.init_hyperparam(watched.x)
    attack.margin_and_loss = partial(_finite_margins, watched.unseen)
    return attack


def _finite_margins(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return y's logit minus the largest other (n,), which is Square's margin and loss in one.

    The library's own margin of a NaN spreads to the best one so far and ends the sample's search. Here a NaN is the
    worst answer, and the search continues.
    """
    margins = -margin(model(x), y)
    margins = margins.nan_to_num(nan=torch.finfo(margins.dtype).max)
    return margins, margins


def _margin(attack: Any, logits: Tensor, y: Tensor) -> Tensor:
    return (logits.gather(1, attack.y_target[:, None]) - logits.gather(1, y[:, None]))[:, 0]


def square_starts(norm: str, height: int, width: int) -> bool:
    """Whether Square can start: in L2 and L1 with a tiling that not every image size has room for.

    The library's tiles, a fifth of the height wide, must end where the image does, or be single pixels.
    """
    if norm == "linf":
        return True
    tile = height // 5
    start = (height - 5 * tile) // 2
    return tile == 1 or (tile > 1 and all(start + side // tile * tile <= side for side in (height, width)))
