"""Settings that every attack of a suite has: name, norm, epsilon grid and schedule."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from afdctl import registry
from afdctl.recipe.fields import Count, Epsilon, Fraction, Table, check_name_in
from afdctl.suites.epsilon_grid import checked

Norm = Literal["linf", "l2", "l1"]
Schedule = Literal["independent", "ascending", "descending", "once"]


class AttackConfig(Table):
    """One attack of a suite; `norm` is that of its ball, or of the distance that it minimises."""

    # schedules that the attack supports, its default first
    schedules: ClassVar[tuple[Schedule, ...]] = ("ascending", "independent", "descending")
    # looks for the smallest perturbation, without a budget
    minimises: ClassVar[bool] = False
    # all samples of a batch share one random generator, so a result depends on the batch size
    batch_dependent: ClassVar[bool] = False
    # steps of AutoAttack's library decide the result, so it depends on the library's version
    library_dependent: ClassVar[bool] = False

    name: str
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")] | None = Field(
        None, description="name where a suite has the attack twice; letters, digits, and _ . + -"
    )
    datasets: tuple[str, ...] = Field((), strict=False, description="only for these data sets; none: for all others")
    norm: Norm = "linf"
    epsilons: tuple[Epsilon, ...] = Field(strict=False, description="the grid, ascending from 0 (clean accuracy)")
    schedule: Schedule | None = Field(None, description="order of the epsilons; none: the attack's default")

    @field_validator("datasets")
    @classmethod
    def _are_known(cls, datasets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_name_in(registry.DATASETS), datasets))

    @field_validator("epsilons")
    @classmethod
    def _are_a_grid(cls, epsilons: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.data.get("norm") == "linf" and epsilons and epsilons[-1] > 1:
            raise ValueError(f"images are in [0, 1]; did you mean {epsilons[-1]:g}/255?")
        return checked(epsilons)

    @field_validator("schedule")
    @classmethod
    def _is_supported(cls, schedule: Schedule | None) -> Schedule | None:
        if schedule is not None and schedule not in cls.schedules:
            raise ValueError(f"this attack has {' and '.join(cls.schedules)}")
        return schedule

    @property
    def title(self) -> str:
        """The label, or the attack's name."""
        return self.label or self.name

    @property
    def order(self) -> Schedule:
        """The schedule in effect."""
        return self.schedule or self.schedules[0]

    def attack_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the attack's function, except epsilon."""
        return self.model_dump(exclude={"name", "label", "datasets", "epsilons", "schedule"})

    def max_distance(self, epsilon: float) -> float | None:
        """Return how far all steps together can move, in units of epsilon; None without a fixed step."""
        return None

    def passes(self, classes: int) -> tuple[int, int]:
        """Return the most forward and backward passes per sample at one epsilon."""
        raise NotImplementedError


class FixedStepAttack(AttackConfig):
    """An attack that takes `steps` steps of fixed length."""

    steps: Count = 40
    step_size: Fraction | None = Field(None, description="absolute")
    rel_step: Fraction | None = Field(None, description="as a fraction of epsilon; neither given: 2.5 / steps")
    early_stop: bool = Field(True, description="stop on a sample once it is fooled; false: x' is the last iterate")

    @model_validator(mode="after")
    def _has_one_step_size(self) -> Self:
        if self.step_size is not None and self.rel_step is not None:
            raise ValueError("step_size and rel_step: give one of them")
        return self

    @property
    def required_distance(self) -> float:
        """The distance to the far side of the ball, in units of epsilon: 1 from x."""
        return 1

    def attack_kwargs(self) -> dict[str, Any]:
        kwargs = super().attack_kwargs()
        if self.step_size is None and self.rel_step is None:
            kwargs["rel_step"] = 2.5 / self.steps
        return kwargs

    def max_distance(self, epsilon: float) -> float | None:
        step = self.step_size / epsilon if self.step_size is not None else self.attack_kwargs()["rel_step"]
        return float(self.steps * step)


class MinimumNormAttack(AttackConfig):
    """An attack that minimises the perturbation, so that one run serves a whole grid."""

    schedules = ("once",)
    minimises = True
