"""What the stored results of a network say of its robustness, image by image: the evidence of the masking diagnosis."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final

import numpy as np

from afdctl import recipe
from afdctl.analysis.attack_evidence import AttackEvidence
from afdctl.attacks.base import NO_CLASS
from afdctl.formatting import format_epsilon
from afdctl.runs import shards
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.paired import image_indices
from afdctl.runs.results_file import IMAGES
from afdctl.runs.run import Run
from afdctl.runs.shards import Array, Arrays

ONE_STEP: Final = ("fgsm",)
CROSS_ENTROPY: Final = ("pgd_linf", "pgd_l2", "pgd_l1", "apgd_ce")
TARGETED: Final = ("apgd_t", "aa")
MINIMUM_NORM: Final = ("deepfool", "fab_t", "ddn", "cw")
# AutoAttack's parts, whose number is stored for each image
SQUARE_PART: Final = 3
CE_PART: Final = 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """The attacks on one network in one norm, on n images that they share; `labels` (n,).

    `nominal` is the epsilon of the recipe, None without a recipe or where that is in another norm. `asked` is the only
    epsilon to judge at, None for all.
    """

    run: str
    norm: str
    attacks: tuple[AttackEvidence, ...]
    labels: Array
    clean: Array
    nominal: float | None = None
    asked: float | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        norm: str,
        curves: Sequence[RobustnessCurve],
        images: Collection[int] = (),
        asked: float | None = None,
    ) -> "Evidence | None":
        """Read the curves of a run in a norm; None without any at the epsilon `asked`. Error: CorruptError.

        Curves that lack some of `images` are left out; without these numbers in the test split, curves that lack some
        of the images on which most attacks were run.
        """
        read = [(curve, _columns(run, curve)) for curve in curves if curve.norm == norm]
        read = _on_shared_images(read, images, asked)
        if not any(asked in (None, *curve.epsilons) for curve, _ in read):
            return None
        given = [np.asarray(images)] if images else []
        shared = reduce(np.intersect1d, [*given, *(columns["index"] for _, columns in read)])
        attacks = []
        for curve, columns in read:
            rows = np.argsort(columns["index"])[np.searchsorted(np.sort(columns["index"]), shared)]
            attacks.append(
                AttackEvidence(
                    title=curve.title,
                    name=curve.cells[0]["spec"]["name"],
                    source=curve.source,
                    schedule=curve.schedule,
                    spec=curve.cells[0]["spec"],
                    epsilons=curve.epsilons[1:],
                    columns={name: column[rows] for name, column in columns.items()},
                )
            )
        first = attacks[0].columns
        return cls(
            run=run.name,
            norm=norm,
            attacks=tuple(attacks),
            labels=first["label"],
            clean=first["clean"],
            nominal=_nominal_epsilon(run, norm),
            asked=asked,
        )

    @property
    def n(self) -> int:
        return len(self.labels)

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """The grids of all attacks together, first the nominal epsilon, else the one of most attacks."""
        found = sorted({epsilon for attack in self.attacks for epsilon in attack.epsilons})
        main = self.nominal if self.nominal in found else max(found, key=lambda epsilon: len(self.at(epsilon)))
        return tuple(sorted(found, key=lambda epsilon: epsilon != main))

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Where to judge: at the epsilon asked for, else on the grid; indicators name the first of equal values."""
        return self.grid if self.asked is None else (self.asked,)

    @property
    def place(self) -> str:
        """Where attacks must have been run to be compared."""
        return "at the same epsilon" if self.asked is None else f"at {format_epsilon(self.asked)}"

    def at(self, epsilon: float) -> list[AttackEvidence]:
        """Return the attacks that were run at an epsilon."""
        return [attack for attack in self.attacks if epsilon in attack.epsilons]

    def named(self, names: Iterable[str], epsilon: float) -> list[AttackEvidence]:
        """Return the white-box attacks of these names at an epsilon."""
        return [attack for attack in self.at(epsilon) if attack.name in names and attack.source is None]

    def worst(self, epsilon: float) -> Array:
        """Where (n,) no attack at this epsilon fooled the network."""
        return _all([attack.robust(epsilon) for attack in self.at(epsilon)])

    def pgd(self, epsilon: float) -> AttackEvidence | None:
        """Return the strongest PGD on the cross-entropy at an epsilon, else APGD-CE; None without either."""
        for names in (CROSS_ENTROPY[:3], CROSS_ENTROPY[3:]):
            if found := self.named(names, epsilon):
                return min(found, key=lambda attack: attack.robust(epsilon).mean())
        return None

    def ce_robust(self, epsilon: float) -> Array | None:
        """Where (n,) APGD-CE did not fool the network, from AutoAttack's first part where it ran as that."""
        for attack in self.named(("apgd_ce",), epsilon):
            return attack.robust(epsilon)
        for attack in self.named(("aa",), epsilon):
            if attack.standard_aa:
                later: Array = attack.fooled(epsilon) & (attack.column(epsilon, "part") != CE_PART)
                robust: Array = attack.robust(epsilon) | later
                return robust
        return None

    def white_box(self, epsilon: float) -> tuple[Array, list[AttackEvidence]] | None:
        """Return where (n,) an iterative attack with gradients fooled, and these attacks; None without one."""
        used = [attack for attack in self.at(epsilon) if not attack.gradient_free and attack.name not in ONE_STEP]
        if not used:
            return None
        fooled = np.zeros(self.n, bool)
        for attack in used:
            by_square = attack.standard_aa & (attack.column(epsilon, "part") == SQUARE_PART)
            fooled |= attack.fooled(epsilon) & ~by_square
        return fooled, used

    def without_gradients(self, epsilon: float) -> dict[str, Array]:
        """Map the attacks without gradients, Square as a part of AutoAttack too, to where (n,) they fooled."""
        fooled = {attack.title: attack.fooled(epsilon) for attack in self.at(epsilon) if attack.gradient_free}
        for attack in self.named(("aa",), epsilon):
            if attack.standard_aa:
                part = attack.column(epsilon, "part") == SQUARE_PART
                fooled[f"square of {attack.title}"] = attack.fooled(epsilon) & part
        return fooled

    @property
    def nan(self) -> int:
        """Number of images with a NaN logit, of x or of some x'."""
        broken = self.clean == NO_CLASS
        for epsilon in self.epsilons:
            for attack in self.at(epsilon):
                broken = broken | (attack.column(epsilon, "prediction") == NO_CLASS)
        return int(broken.sum())


def _all(masks: Sequence[Array]) -> Array:
    every: Array = np.logical_and.reduce(masks)
    return every


def _nominal_epsilon(run: Run, norm: str) -> float | None:
    attack = recipe.loads(run.recipe_text, run.path).attack if run.recipe_text else None
    return attack.epsilon if attack and attack.norm == norm else None


def _on_shared_images(
    read: list[tuple[RobustnessCurve, Arrays]], images: Collection[int], asked: float | None
) -> list[tuple[RobustnessCurve, Arrays]]:
    """Keep the curves that have all images: those given, or of the subset with the most curves, then the larger.

    Where an epsilon is `asked` for, only curves that have it choose the subset.
    """
    subsets = [frozenset(columns["index"].tolist()) for _, columns in read]
    voting = [subset for (curve, _), subset in zip(read, subsets, strict=True) if asked in (None, *curve.epsilons)]
    chosen = frozenset(images) or max(
        voting, key=lambda subset: (voting.count(subset), len(subset)), default=frozenset()
    )
    return [pair for pair, subset in zip(read, subsets, strict=True) if chosen <= subset]


def _columns(run: Run, curve: RobustnessCurve) -> Arrays:
    """Read the arrays of a curve's cells, each under its own epsilon, with `index`, `label` and `clean`."""
    arrays: Arrays = {}
    for cell in curve.cells:
        found = shards.read(run, cell["shard"], without=IMAGES)
        prefix = f"{cell['epsilon']:g}/"
        arrays |= {name: array for name, array in found.items() if name.startswith(prefix)}
        arrays |= {"index": image_indices(cell, found), "label": found["label"], "clean": found["clean"]}
    return arrays
