"""AutoAttack and its parts as attacks of a suite."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from afdctl.recipe.fields import Count
from afdctl.suites.attack_config import AttackConfig, Eot, MinimumNormAttack


class APGD(AttackConfig):
    """AutoAttack's APGD on cross-entropy or on the DLR loss (Croce & Hein 2020)."""

    shares_generator = library_dependent = True
    name: Literal["apgd_ce", "apgd_dlr", "apgd_l1"]
    steps: Count = 100
    restarts: Count = 1
    eot: Eot = 1

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
        gradients = self.eot * self.restarts * (self.steps + (3 if self.norm == "l1" else 1))
        # for a random model the candidates of each restart are put to the vote too
        votes = 2 if self.eot == 1 else self.eot * 2 * (self.restarts + 1)
        return gradients + votes, gradients


class APGDT(AttackConfig):
    """AutoAttack's targeted APGD on the DLR loss."""

    shares_generator = library_dependent = True
    name: Literal["apgd_t"]
    steps: Count = 100
    targets: Count = 9
    eot: Eot = 1

    def passes(self, classes: int) -> tuple[int, int]:
        targets = min(self.targets, classes - 1)
        gradients = self.eot * targets * (self.steps + (3 if self.norm == "l1" else 1))
        return gradients + (2 if self.eot == 1 else self.eot * 2 * (targets + 1)), gradients


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

    shares_generator = library_dependent = True
    name: Literal["square"]
    queries: Count = 5000

    def passes(self, classes: int) -> tuple[int, int]:
        # the start is a query as well; x and x' are classified before and after
        return self.queries + 3, 0


class AA(AttackConfig):
    """AutoAttack: the worst case of APGD-CE, APGD-T, FAB-T and Square; for random models of APGD-CE and APGD-DLR."""

    # a robust sample takes all parts, so the order that spares it the smaller balls is the cheapest
    orders = ("descending", "ascending", "independent")
    shares_generator = library_dependent = True
    name: Literal["aa"]
    version: Literal["standard", "rand"] = Field("standard", description="rand is for random models")
    eot: Eot | None = Field(None, validate_default=True, description="as of pgd; rand only, where none is 20")
    steps: Count = 100
    queries: Count = 5000
    targets: Count = 9

    @field_validator("eot")
    @classmethod
    def _is_for_random_models(cls, eot: int | None, info: ValidationInfo) -> int | None:
        rand = info.data.get("version") == "rand"
        if eot is not None and not rand:
            raise ValueError('only version = "rand" has it; set version too')
        # 20 as in AutoAttack
        return 20 if eot is None and rand else eot

    @property
    def evaluations(self) -> int:
        """See `AttackConfig.evaluations`."""
        return self.eot or 1

    def parts(self) -> tuple[AttackConfig, ...]:
        """Return its attacks, in the order in which they run."""
        common: dict[str, Any] = {"epsilons": self.epsilons, "norm": self.norm}
        # L1 of the standard version has 5 restarts and at most 5 targets
        restarts, targets = (5, min(self.targets, 5)) if self.norm == "l1" else (1, self.targets)
        if self.eot:
            shared = common | {"steps": self.steps, "eot": self.eot}
            return APGD(name="apgd_ce", **shared), APGD(name="apgd_dlr", **shared)
        return (
            APGD(name="apgd_ce", steps=self.steps, restarts=restarts, **common),
            APGDT(name="apgd_t", steps=self.steps, targets=targets, **common),
            FABT(name="fab_t", steps=self.steps, targets=self.targets, **common),
            Square(name="square", queries=self.queries, **common),
        )

    def passes(self, classes: int) -> tuple[int, int]:
        forwards, backwards = zip(*(part.passes(classes) for part in self.parts()), strict=True)
        return sum(forwards), sum(backwards)
