"""How many images the parts of AutoAttack are expected to take: all but those that fall early."""

import torch

from afdctl.attacks.base import NOT_FOUND
from afdctl.data.loader import as_floats
from afdctl.errors import fit_in_memory
from afdctl.evaluation.batch import PreparedModel, search
from afdctl.evaluation.plan import Task
from afdctl.suites.autoattack import APGD

# a short APGD that shows which images fall early; its time is under 1 % of AutoAttack's
PROBE_IMAGES = 64
PROBE_STEPS = 10


def attacked_shares(task: Task) -> list[tuple[float, float]]:
    """Return for each epsilon the shares of the images that AutoAttack's first part and its others take.

    A short APGD on some of the images finds those that fall early.
    """
    model, split = PreparedModel(task.source.network, lambda: None, task.precision), task.source.split

    def robust_shares(size: int) -> list[float]:
        index = task.subset.index[:size].to(split.x.device)
        x, y = as_floats(split.x[index]), split.y[index]
        with torch.no_grad():
            correct = model(x).argmax(1) == y
        probe = APGD(name="apgd_ce", norm=task.spec.norm, steps=PROBE_STEPS, epsilons=task.spec.epsilons)
        results = search(probe, model, x[correct], y[correct], seed=task.seed, numbers=index[correct].tolist())
        found = [int((results[epsilon].first_success_step == NOT_FOUND).sum()) for epsilon in task.epsilons]
        return [count / size for count in (int(correct.sum()), *found)]

    clean, *robust = fit_in_memory(robust_shares, min(PROBE_IMAGES, task.n))
    # in descending order what is robust in a ball is not attacked in the smaller ones, in ascending order what fell
    match task.spec.order:
        case "descending":
            return [
                (clean - more, max(0.0, share - more)) for share, more in zip(robust, [*robust[1:], 0.0], strict=True)
            ]
        case "ascending":
            return list(zip([clean, *robust[:-1]], robust, strict=True))
    return [(clean, share) for share in robust]
