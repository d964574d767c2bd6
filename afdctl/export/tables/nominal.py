"""The strengths at which Tables 1, A3 and A5 attack."""

from collections import Counter
from collections.abc import Iterable

from afdctl import recipe
from afdctl.export.tables.measured import table_a2
from afdctl.recipe.find import packaged
from afdctl.store.record import Record

LINF = {"mnist": 0.3, "cifar10": 8 / 255, "cifar100": 8 / 255, "tiny_imagenet": 4 / 255}
"""Table 1's 0.3, 0.031 and 0.015, as Table A2's grids have them."""
USUAL = 8 / 255
L2 = {"digits": 0.29}
"""C&W's epsilon of 1, which on 8 x 8 pixels is 8/28 of that, as profile paper-A2 scales it."""


def linf(dataset: str, records: Iterable[Record]) -> float:
    """Table 1's epsilon, or the one that most runs on a data set which the paper does not have were trained at."""
    if dataset in LINF:
        return LINF[dataset]
    trained = [
        record.recipe.attack.epsilon
        for record in records
        if record.recipe and record.dataset == dataset and record.recipe.attack.norm == "linf"
    ]
    return Counter(trained).most_common(1)[0][0] if trained else _recipes_epsilon(dataset)


def _recipes_epsilon(dataset: str) -> float:
    """The epsilon of the packaged recipe, or the most usual one for a data set that has none."""
    name = f"{dataset}_wgan"
    return recipe.load(name).attack.epsilon if name in packaged() else USUAL


def l2(dataset: str) -> float:
    return L2.get(dataset, 1.0)


def on_grid(dataset: str, attack: str, epsilon: float) -> bool:
    """Whether Table A2's grid of an attack has the epsilon, or one within 5 % of it."""
    of_paper = table_a2(dataset).get(attack)
    return of_paper is not None and any(abs(point - epsilon) <= 0.05 * epsilon for point in of_paper.epsilons)
