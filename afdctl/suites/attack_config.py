"""What every attack of a profile has: a name, a grid of epsilons, and how the grid is gone through."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from afdctl import registry
from afdctl.recipe.fields import Count, Fraction, Table, join_choices, number
from afdctl.suites.epsilon_grid import checked

Norm = Literal["linf", "l2", "l1"]
Schedule = Literal["independent", "ascending", "descending", "once"]

Epsilon = Annotated[
    float,
    BeforeValidator(number),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[\d.]+/[\d.]+$"}]}),
]


class AttackConfig(Table):
    """One attack of a profile. `norm` is that of its ball, or of the distance that it minimises."""

    schedules: ClassVar[tuple[Schedule, ...]] = ("ascending", "independent", "descending")
    minimises: ClassVar[bool] = False
    one_stream: ClassVar[bool] = False
    """Whether a batch shares one stream of random numbers, so that a result depends on the batch's size."""
    borrowed: ClassVar[bool] = False
    """Whether steps of AutoAttack's library decide the result, so that it depends on the library's version."""

    name: str
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")] | None = Field(
        None, description="what to call it where a profile has the attack twice: letters, digits, and _ . + -"
    )
    datasets: tuple[str, ...] = Field((), strict=False, description="for these data sets; none: for all others")
    norm: Norm = "linf"
    epsilons: tuple[Epsilon, ...] = Field(strict=False, description="the grid, ascending from 0 (clean accuracy)")
    schedule: Schedule | None = Field(None, description="how the grid is gone through; none: the attack's own")

    @field_validator("datasets")
    @classmethod
    def _known(cls, datasets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(join_choices(registry.DATASETS), datasets))

    @field_validator("epsilons")
    @classmethod
    def _grid(cls, epsilons: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.data.get("norm") == "linf" and epsilons and epsilons[-1] > 1:
            raise ValueError(f"images are in [0, 1]; did you mean {epsilons[-1]:g}/255?")
        return checked(epsilons)

    @field_validator("schedule")
    @classmethod
    def _has_schedule(cls, schedule: Schedule | None) -> Schedule | None:
        if schedule is not None and schedule not in cls.schedules:
            raise ValueError(f"this attack has {' and '.join(cls.schedules)}")
        return schedule

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


class FixedStepAttack(AttackConfig):
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

    @property
    def least(self) -> float:
        """The reach that it takes to cross the ball: 1 from x."""
        return 1

    def knobs(self) -> dict[str, Any]:
        knobs = super().knobs()
        if self.step_size is None and self.rel_step is None:
            knobs["rel_step"] = 2.5 / self.steps
        return knobs

    def reach(self, epsilon: float) -> float | None:
        step = self.step_size / epsilon if self.step_size is not None else self.knobs()["rel_step"]
        return float(self.steps * step)


class MinimumNormAttack(AttackConfig):
    """An attack that looks for the smallest perturbation: it runs once for a whole grid."""

    schedules = ("once",)
    minimises = True
