"""The keys of a profile: which attacks a sweep runs, over which epsilons, with which knobs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from afdctl import registry
from afdctl.recipe.values import Count, Fraction, Table, number, one_of

Norm = Literal["linf", "l2", "l1"]
Schedule = Literal["independent", "ascending", "descending", "once"]

Epsilon = Annotated[
    float,
    BeforeValidator(number),
    Field(ge=0, allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[\d.]+/[\d.]+$"}]}),
]


class Spec(Table):
    """One attack of a profile. `norm` is that of its ball, or of the distance that it minimises."""

    schedules: ClassVar[tuple[Schedule, ...]] = ("ascending", "independent", "descending")
    minimises: ClassVar[bool] = False

    name: str
    label: str | None = Field(None, description="what to call it where a profile has the attack twice")
    datasets: tuple[str, ...] = Field((), strict=False, description="for these data sets; none: for all others")
    epsilons: tuple[Epsilon, ...] = Field(strict=False, description="the grid, ascending from 0 (clean accuracy)")
    norm: Norm = "linf"
    schedule: Schedule | None = Field(None, description="how the grid is gone through; none: the attack's own")

    @field_validator("datasets")
    @classmethod
    def _known(cls, datasets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(one_of(registry.DATASETS), datasets))

    @field_validator("epsilons")
    @classmethod
    def _grid(cls, epsilons: tuple[float, ...]) -> tuple[float, ...]:
        return checked_grid(epsilons)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.schedule is not None and self.schedule not in self.schedules:
            raise ValueError(f"schedule '{self.schedule}': {self.name} has {' and '.join(self.schedules)}")
        if self.norm == "linf" and self.epsilons[-1] > 1:
            raise ValueError(f"epsilon {self.epsilons[-1]:g}: images are in [0, 1], so no L-infinity ball is larger")
        return self

    @property
    def title(self) -> str:
        """The label, or the attack's name."""
        return self.label or self.name

    @property
    def order(self) -> Schedule:
        """How the grid is gone through."""
        return self.schedule or self.schedules[0]

    def knobs(self) -> dict[str, Any]:
        """What the attack's function is called with, besides epsilon."""
        return self.model_dump(exclude={"name", "label", "datasets", "epsilons", "schedule"})

    def reach(self, epsilon: float) -> float | None:
        """How far its steps can go, in units of epsilon; None where it has no fixed step."""
        return None

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes that a sample takes at most, at one epsilon."""
        raise NotImplementedError


def checked_grid(epsilons: tuple[float, ...]) -> tuple[float, ...]:
    """The grid, if it ascends from 0."""
    if not epsilons or epsilons[0] != 0:
        raise ValueError("must begin with 0: accuracy at 0 is clean accuracy, and the area under the curve needs it")
    if list(epsilons) != sorted(set(epsilons)):
        raise ValueError("must ascend, such as [0, 0.1, 0.3]")
    return epsilons


class Stepped(Spec):
    """An attack of `steps` steps of a fixed length."""

    steps: Count = 40
    step_size: Fraction | None = Field(None, description="absolute")
    rel_step: Fraction | None = Field(None, description="as a share of epsilon; neither: 2.5 / steps")
    early_stop: bool = Field(True, description="leave a sample alone once it is fooled; else x' is the last iterate")

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.step_size is not None and self.rel_step is not None:
            raise ValueError("step_size and rel_step: give one of them")
        return self

    def knobs(self) -> dict[str, Any]:
        knobs = super().knobs()
        if self.step_size is None and self.rel_step is None:
            knobs["rel_step"] = 2.5 / self.steps
        return knobs

    def reach(self, epsilon: float) -> float | None:
        step = self.step_size / epsilon if self.step_size is not None else self.knobs()["rel_step"]
        return float(self.steps * step)


class FGSM(Spec):
    """One step of length epsilon (Goodfellow et al. 2015)."""

    schedules = ("independent",)
    name: Literal["fgsm"]
    norm: Literal["linf"] = "linf"
    random_start: bool = False

    def passes(self, classes: int) -> tuple[int, int]:
        return 2, 1


class PGD(Stepped):
    """Projected gradient descent (Madry et al. 2018), as foolbox takes its steps."""

    name: Literal["pgd_linf", "pgd_l2", "pgd_l1"]
    random_start: bool = True
    restarts: Count = 1

    @model_validator(mode="before")
    @classmethod
    def _norm_of_name(cls, values: Any) -> Any:
        name = values.get("name") if isinstance(values, dict) else None
        if isinstance(name, str) and name.startswith("pgd_") and "norm" not in values:
            return {**values, "norm": name.removeprefix("pgd_")}
        return values

    @model_validator(mode="after")
    def _own_norm(self) -> Self:
        if self.name != f"pgd_{self.norm}":
            raise ValueError(f"norm '{self.norm}': {self.name} has its own; name pgd_{self.norm}")
        return self

    @property
    def least(self) -> float:
        """The reach that lets it cross the ball from a random start, or from x."""
        return 2 if self.random_start else 1

    def knobs(self) -> dict[str, Any]:
        # one function a norm
        return {key: value for key, value in super().knobs().items() if key != "norm"}

    def passes(self, classes: int) -> tuple[int, int]:
        return self.restarts * (self.steps + 1), self.restarts * self.steps


class MIM(Stepped):
    """Momentum iterative FGSM (Dong et al. 2018), as AdverTorch takes its steps."""

    name: Literal["mim"]
    norm: Literal["linf"] = "linf"
    decay: float = Field(1.0, ge=0)

    def passes(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, self.steps


class Minimum(Spec):
    """An attack that looks for the smallest perturbation: it runs once for a whole grid."""

    schedules = ("once",)
    minimises = True


class DDN(Minimum):
    """Decoupled direction and norm (Rony et al. 2019)."""

    name: Literal["ddn"]
    norm: Literal["l2"] = "l2"
    steps: Count = 100
    init_epsilon: Fraction = 1.0
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def passes(self, classes: int) -> tuple[int, int]:
        return self.steps, self.steps


class DeepFool(Minimum):
    """DeepFool (Moosavi-Dezfooli et al. 2016)."""

    name: Literal["deepfool"]
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 50
    candidates: Annotated[int, Field(ge=2)] = Field(10, description="classes whose boundary is looked at")
    overshoot: Annotated[float, Field(ge=0, lt=1)] = 0.02

    def passes(self, classes: int) -> tuple[int, int]:
        # each iterate is judged before it is differentiated
        return 2 * self.steps + 1, self.steps * (min(self.candidates, classes) - 1)


class CW(Minimum):
    """Carlini & Wagner's L2 attack (2017)."""

    name: Literal["cw"]
    norm: Literal["l2"] = "l2"
    steps: Count = 100
    step_size: Fraction = Field(0.01, description="of Adam")
    binary_search_steps: Count = 9
    initial_const: Fraction = 1e-3
    confidence: float = Field(0.0, ge=0)

    def passes(self, classes: int) -> tuple[int, int]:
        return self.binary_search_steps * self.steps, self.binary_search_steps * self.steps


class APGD(Spec):
    """AutoAttack's APGD on cross-entropy, in one norm (Croce & Hein 2020)."""

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
    def _own_norm(self) -> Self:
        if self.name == "apgd_l1" and self.norm != "l1":
            raise ValueError("norm: apgd_l1 is the L1 attack; name apgd_ce for another norm")
        return self

    def passes(self, classes: int) -> tuple[int, int]:
        # one more forward pass a restart: the start that the loss is first measured at
        return self.restarts * (self.steps + 1), self.restarts * (self.steps + 1)


class APGDT(Spec):
    """AutoAttack's targeted APGD on the DLR loss."""

    name: Literal["apgd_t"]
    steps: Count = 100
    targets: Count = 9

    def passes(self, classes: int) -> tuple[int, int]:
        targets = min(self.targets, classes - 1)
        return targets * (self.steps + 2), targets * (self.steps + 1)


class FABT(Minimum):
    """AutoAttack's targeted FAB."""

    name: Literal["fab_t"]
    steps: Count = 100
    targets: Count = 9

    def passes(self, classes: int) -> tuple[int, int]:
        targets = min(self.targets, classes - 1)
        return targets * (2 * self.steps + 2), targets * self.steps


class Square(Spec):
    """AutoAttack's Square: random search, no gradients."""

    name: Literal["square"]
    queries: Count = 5000

    def passes(self, classes: int) -> tuple[int, int]:
        return self.queries + 1, 0


class AA(Spec):
    """AutoAttack, version standard: the worst case of APGD-CE, APGD-T, FAB-T and Square."""

    schedules = ("descending", "ascending", "independent")
    name: Literal["aa"]
    version: Literal["standard"] = "standard"
    steps: Count = 100
    queries: Count = 5000
    targets: Count = 9

    def parts(self) -> tuple[Spec, ...]:
        """Its attacks, in the order in which they run."""
        common: dict[str, Any] = {"epsilons": self.epsilons, "norm": self.norm}
        return (
            APGD(name="apgd_ce", steps=self.steps, **common),
            APGDT(name="apgd_t", steps=self.steps, targets=self.targets, **common),
            FABT(name="fab_t", steps=self.steps, targets=self.targets, **common),
            Square(name="square", queries=self.queries, **common),
        )

    def passes(self, classes: int) -> tuple[int, int]:
        forwards, backwards = zip(*(part.passes(classes) for part in self.parts()), strict=True)
        return sum(forwards), sum(backwards)


class Noise(Spec):
    """The worst of random sign noise (Linf), or of random directions of length epsilon (L2): no attack at all."""

    name: Literal["noise"]
    norm: Literal["linf", "l2"] = "linf"
    draws: Count = 100

    def passes(self, classes: int) -> tuple[int, int]:
        return self.draws, 0


ATTACKS: Final[Mapping[str, type[Spec]]] = {
    "fgsm": FGSM,
    "pgd_linf": PGD,
    "pgd_l2": PGD,
    "pgd_l1": PGD,
    "mim": MIM,
    "ddn": DDN,
    "deepfool": DeepFool,
    "cw": CW,
    "aa": AA,
    "apgd_ce": APGD,
    "apgd_t": APGDT,
    "fab_t": FABT,
    "square": Square,
    "apgd_l1": APGD,
    "noise": Noise,
}
