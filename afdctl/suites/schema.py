"""The built-in attacks of a suite, each with the arguments of its function."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from afdctl import registry
from afdctl.recipe.fields import Count, Fraction
from afdctl.suites.attack_config import AttackConfig, FixedStepAttack, MinimumNormAttack


class FGSM(AttackConfig):
    """One step of length epsilon (Goodfellow et al. 2015)."""

    orders = ("independent",)
    name: Literal["fgsm"]
    norm: Literal["linf"] = "linf"
    random_start: bool = False

    def passes(self, classes: int) -> tuple[int, int]:
        return 2, 1


class PGD(FixedStepAttack):
    """Projected gradient descent (Madry et al. 2018), with foolbox's step rule."""

    name: Literal["pgd_linf", "pgd_l2", "pgd_l1"]
    random_start: bool = True
    restarts: Count = 1

    @model_validator(mode="before")
    @classmethod
    def _norm_of_name(cls, values: Any) -> Any:
        # before validation, because a missing `norm` would get its default
        name = values.get("name") if isinstance(values, dict) else None
        if isinstance(name, str) and name.startswith("pgd_") and "norm" not in values:
            return {**values, "norm": name.removeprefix("pgd_")}
        return values

    @model_validator(mode="after")
    def _norm_fits_name(self) -> Self:
        if self.name != f"pgd_{self.norm}":
            raise ValueError(f"{self.name} cannot have norm = '{self.norm}'; name pgd_{self.norm}")
        return self

    @property
    def required_distance(self) -> float:
        """The distance to the far side of the ball: 2 from a random start, which may be opposite."""
        return 2 if self.random_start else 1

    def attack_kwargs(self) -> dict[str, Any]:
        # each norm has its own function
        return {key: value for key, value in super().attack_kwargs().items() if key != "norm"}

    def passes(self, classes: int) -> tuple[int, int]:
        return self.restarts * (self.steps + 1), self.restarts * self.steps


class MIM(FixedStepAttack):
    """Momentum iterative FGSM (Dong et al. 2018), with AdverTorch's step rule."""

    name: Literal["mim"]
    norm: Literal["linf"] = "linf"
    decay: float = Field(1.0, ge=0)

    def passes(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, self.steps


class DDN(MinimumNormAttack):
    """Decoupled direction and norm (Rony et al. 2019)."""

    name: Literal["ddn"]
    norm: Literal["l2"] = "l2"
    steps: Count = 100
    init_epsilon: Fraction = 1.0
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def passes(self, classes: int) -> tuple[int, int]:
        return self.steps, self.steps


class DeepFool(MinimumNormAttack):
    """DeepFool (Moosavi-Dezfooli et al. 2016)."""

    name: Literal["deepfool"]
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 50
    candidates: Annotated[int, Field(ge=2)] = Field(
        10, description="number of most likely classes whose boundaries are considered"
    )
    overshoot: Annotated[float, Field(ge=0, lt=1)] = 0.02

    def passes(self, classes: int) -> tuple[int, int]:
        # each iterate is classified before it is differentiated
        return 2 * self.steps + 1, self.steps * (min(self.candidates, classes) - 1)


class CW(MinimumNormAttack):
    """Carlini & Wagner's L2 attack (2017)."""

    name: Literal["cw"]
    norm: Literal["l2"] = "l2"
    steps: Count = 100
    step_size: Fraction = Field(0.01, description="learning rate of Adam")
    binary_search_steps: Count = 9
    initial_const: Fraction = 1e-3
    confidence: float = Field(0.0, ge=0)
    abort_early: bool = Field(True, description="end a round once its loss exceeds that at x, unless it succeeded")

    def passes(self, classes: int) -> tuple[int, int]:
        iterates = self.binary_search_steps * self.steps
        return 1 + iterates, iterates


class APGD(AttackConfig):
    """AutoAttack's APGD on cross-entropy, in one norm (Croce & Hein 2020)."""

    batch_dependent = library_dependent = True
    name: Literal["apgd_ce", "apgd_l1"]
    steps: Count = 100
    restarts: Count = 1

    @model_validator(mode="before")
    @classmethod
    def _norm_of_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("name") == "apgd_l1" and "norm" not in values:
            return {**values, "norm": "l1"}
        return values

    @model_validator(mode="after")
    def _norm_fits_name(self) -> Self:
        if self.name == "apgd_l1" and self.norm != "l1":
            raise ValueError(f"apgd_l1 cannot have norm = '{self.norm}'; name apgd_ce")
        return self

    def passes(self, classes: int) -> tuple[int, int]:
        # each restart also evaluates its start, in L1 three starts; x and x' are classified before and after
        gradients = self.restarts * (self.steps + (3 if self.norm == "l1" else 1))
        return gradients + 2, gradients


class APGDT(AttackConfig):
    """AutoAttack's targeted APGD on the DLR loss."""

    batch_dependent = library_dependent = True
    name: Literal["apgd_t"]
    steps: Count = 100
    targets: Count = 9

    def passes(self, classes: int) -> tuple[int, int]:
        gradients = min(self.targets, classes - 1) * (self.steps + (3 if self.norm == "l1" else 1))
        return gradients + 2, gradients


class FABT(MinimumNormAttack):
    """AutoAttack's targeted FAB."""

    library_dependent = True
    name: Literal["fab_t"]
    steps: Count = 100
    targets: Count = 9

    def passes(self, classes: int) -> tuple[int, int]:
        # a step differentiates one iterate and classifies the next; x and x' are classified before and after
        targets = min(self.targets, classes - 1)
        return targets * 2 * self.steps + 2, targets * self.steps


class Square(AttackConfig):
    """AutoAttack's Square: random search, no gradients."""

    batch_dependent = library_dependent = True
    name: Literal["square"]
    queries: Count = 5000

    def passes(self, classes: int) -> tuple[int, int]:
        # the start is a query as well; x and x' are classified before and after
        return self.queries + 3, 0


class AA(AttackConfig):
    """AutoAttack, version standard: the worst case of APGD-CE, APGD-T, FAB-T and Square."""

    # a robust sample takes all parts, so the order that spares it the smaller balls is the cheapest
    orders = ("descending", "ascending", "independent")
    batch_dependent = library_dependent = True
    name: Literal["aa"]
    version: Literal["standard"] = "standard"
    steps: Count = 100
    queries: Count = 5000
    targets: Count = 9

    def parts(self) -> tuple[AttackConfig, ...]:
        """Return its attacks, in the order in which they run."""
        common: dict[str, Any] = {"epsilons": self.epsilons, "norm": self.norm}
        # L1 of the standard version has 5 restarts and at most 5 targets
        restarts, targets = (5, min(self.targets, 5)) if self.norm == "l1" else (1, self.targets)
        return (
            APGD(name="apgd_ce", steps=self.steps, restarts=restarts, **common),
            APGDT(name="apgd_t", steps=self.steps, targets=targets, **common),
            FABT(name="fab_t", steps=self.steps, targets=self.targets, **common),
            Square(name="square", queries=self.queries, **common),
        )

    def passes(self, classes: int) -> tuple[int, int]:
        forwards, backwards = zip(*(part.passes(classes) for part in self.parts()), strict=True)
        return sum(forwards), sum(backwards)


class Noise(AttackConfig):
    """Worst case of random sign noise (Linf) or of random directions of length epsilon (L2); a sanity check."""

    name: Literal["noise"]
    norm: Literal["linf", "l2"] = "linf"
    samples: Count = 100

    def passes(self, classes: int) -> tuple[int, int]:
        return self.samples, 0


class _Configs(Mapping[str, type[AttackConfig]]):
    """The model of each built-in attack's keys, found by its descriptor."""

    def __getitem__(self, name: str) -> type[AttackConfig]:
        config: type[AttackConfig] = registry.load_config(registry.ATTACKS, name)
        return config

    def __iter__(self) -> Iterator[str]:
        return iter(registry.ATTACKS)

    def __len__(self) -> int:
        return len(registry.ATTACKS)


ATTACKS: Final = _Configs()
