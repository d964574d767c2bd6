"""Settings that every attack of a suite has: name, norm, epsilon grid and the order in which it is attacked."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from afdctl import registry
from afdctl.errors import RecipeError
from afdctl.formatting import shorten
from afdctl.recipe.fields import Count, Epsilon, Fraction, Table, check_name_in, parse_decimal, parse_fraction
from afdctl.user_code.attack_libraries import LibraryAttack
from afdctl.user_code.function import UserFunction

Norm = Literal["linf", "l2", "l1", "l0"]
GridOrder = Literal["independent", "ascending", "descending", "once"]
Grid = tuple[float, ...]
MAX_EPSILONS = 200
Eot = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="for random models: passes whose gradients are averaged; an image's verdict is the class predicted "
        "most often in as many passes",
    ),
]


class AttackConfig(Table):
    """One attack of a suite; `norm` is that of its ball, or of the distance that it minimises."""

    # orders of the epsilons that the attack supports, its default first
    orders: ClassVar[tuple[GridOrder, ...]] = ("ascending", "independent", "descending")
    # looks for the smallest perturbation, without a budget
    minimises: ClassVar[bool] = False
    # all samples of a batch share one random generator
    shares_generator: ClassVar[bool] = False
    # steps of AutoAttack's library decide the result, so it depends on the library's version
    library_dependent: ClassVar[bool] = False
    # a user's attack, and its name in tables; None for a built-in one
    user_attack: ClassVar[UserFunction | None] = None
    # needs a network that is distilled from the target's answers on training images
    distils: ClassVar[bool] = False
    # an attack of another library, and its name in tables; None for our own
    library_attack: ClassVar[LibraryAttack | None] = None
    default_title: ClassVar[str | None] = None

    name: str
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")] | None = Field(
        None, description="name where a suite has the attack twice; letters, digits, and _ . + -"
    )
    datasets: tuple[str, ...] = Field((), strict=False, description="only for these data sets; none: for all others")
    norm: Norm = "linf"
    epsilons: tuple[Epsilon, ...] = Field(strict=False, description="the grid, ascending from 0 (clean accuracy)")
    schedule: GridOrder | None = Field(None, description="order of the epsilons; none: the attack's default")

    @field_validator("datasets")
    @classmethod
    def _are_known(cls, datasets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_name_in(registry.DATASETS), datasets))

    @field_validator("epsilons")
    @classmethod
    def _are_a_grid(cls, epsilons: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.data.get("norm") == "linf" and epsilons and epsilons[-1] > 1:
            raise ValueError(f"images are in [0, 1]; did you mean {epsilons[-1]:g}/255?")
        return check_grid(epsilons)

    @field_validator("schedule")
    @classmethod
    def _is_supported(cls, schedule: GridOrder | None) -> GridOrder | None:
        if schedule is not None and schedule not in cls.orders:
            raise ValueError(f"this attack has {' and '.join(cls.orders)}")
        return schedule

    @property
    def title(self) -> str:
        """The label, or the attack's name."""
        return self.label or self.default_title or self.name

    @property
    def evaluations(self) -> int:
        """The passes whose most frequent class is the verdict on an image: more than 1 for a random model."""
        return int(getattr(self, "eot", 1))

    @property
    def batch_dependent(self) -> bool:
        """Whether the result depends on the batch size."""
        return self.shares_generator or self.evaluations > 1

    @property
    def order(self) -> GridOrder:
        """The order of the epsilons in effect."""
        # what fooled a random model once may not do so again, so that no epsilon says anything of another one
        return self.schedule or ("independent" if self.evaluations > 1 else self.orders[0])

    @model_validator(mode="after")
    def _random_models_have_no_order(self) -> Self:
        if self.evaluations > 1 and self.schedule not in (None, "independent"):
            raise ValueError("schedule: eot is for random models, whose epsilons are independent; remove it")
        return self

    def attack_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the attack's function, except epsilon."""
        return self.model_dump(exclude={"name", "label", "datasets", "epsilons", "schedule"})

    def max_distance(self, epsilon: float) -> float | None:
        """Return how far all steps together can move, in units of epsilon; None without a fixed step."""
        return None

    def passes(self, classes: int) -> tuple[int, int]:
        """Return the most forward and backward passes per sample at one epsilon, for the estimate of the time.

        Unless a class knows better, each of `steps` (none: one) is a forward and a backward pass.
        """
        steps = int(getattr(self, "steps", 1))
        return steps + 1, steps


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
        # not a stored default, because it follows `steps`
        if self.step_size is None and self.rel_step is None:
            kwargs["rel_step"] = 2.5 / self.steps
        return kwargs

    def max_distance(self, epsilon: float) -> float | None:
        step = self.step_size / epsilon if self.step_size is not None else self.attack_kwargs()["rel_step"]
        return float(self.steps * step)


class MinimumNormAttack(AttackConfig):
    """An attack that minimises the perturbation, so that one run serves a whole grid."""

    orders = ("once",)
    minimises = True


def check_grid(epsilons: Grid) -> Grid:
    """Return the grid if it ascends from 0; ValueError otherwise."""
    if len(epsilons) > MAX_EPSILONS:
        raise ValueError(f"are {len(epsilons):,} epsilons, more than {MAX_EPSILONS}")
    if not epsilons or epsilons[0] != 0:
        raise ValueError("must begin with 0: accuracy at 0 is clean accuracy, which the area under the curve needs")
    if min(epsilons) < 0:
        raise ValueError("must be 0 or more")
    # results.h5 and shards name an epsilon by its first six digits
    if list(epsilons) != sorted(set(epsilons)) or len({f"{epsilon:g}" for epsilon in epsilons}) < len(epsilons):
        raise ValueError("must ascend, and differ in the first six digits, such as [0, 0.1, 0.3]")
    if len(epsilons) == 1:
        raise ValueError("has no epsilon to attack at; add one above 0")
    return epsilons


def from_zero(epsilons: Grid) -> Grid:
    """Add the epsilon 0, of clean accuracy, where a grid does not begin with it."""
    return epsilons if epsilons and epsilons[0] == 0 else (0.0, *epsilons)


def as_grid(epsilons: Sequence[float | str], name: str) -> Grid:
    """Return numbers, or texts such as `8/255`, as a grid that begins with 0; RecipeError names them `name`."""
    if isinstance(epsilons, str) or not isinstance(epsilons, Iterable):
        raise RecipeError(f"{name}: must be a list, such as [0.1, '8/255']")
    try:
        return check_grid(from_zero(tuple(map(_as_number, epsilons))))
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None


def parse_grid(text: str) -> Grid:
    """Parse `0.1,8/255` or `start:stop:step` (stop included), and begin with 0; RecipeError for anything else."""
    try:
        grid = _parse_range(text) if ":" in text else tuple(_parse_number(part) for part in text.split(","))
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shorten(text)}': {error}; write 0,0.1,8/255 or 0:0.5:0.1") from None
    try:
        return check_grid(from_zero(grid))
    except ValueError as error:
        raise RecipeError(f"--epsilons '{shorten(text)}': {error}") from None


def parse_epsilon(text: str, option: str = "--epsilon") -> float:
    """Parse one epsilon of the command line, such as `0.3` or `8/255`."""
    try:
        return _parse_number(text)
    except ValueError as error:
        raise RecipeError(f"{option} '{shorten(text)}': {error}") from None


def _as_number(epsilon: object) -> float:
    """Return a number, such as one of numpy, or a text such as `8/255`, as a float."""
    if isinstance(epsilon, str):
        return _parse_number(epsilon)
    try:
        return float(epsilon)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"must be a number or a text such as '8/255', not {shorten(repr(epsilon))}") from None


def _parse_number(text: str) -> float:
    try:
        epsilon = float(parse_fraction(text) if "/" in text else parse_decimal(text))
    except ValueError:
        raise ValueError("must be numbers or fractions such as 8/255") from None
    if not 0 <= epsilon < float("inf"):
        raise ValueError("must be 0 or more, and finite")
    return epsilon


def _parse_range(text: str) -> Grid:
    parts = [_parse_number(part) for part in text.split(":")]
    if len(parts) != 3 or parts[2] == 0 or parts[1] < parts[0]:
        raise ValueError("a range is start:stop:step")
    start, stop, step = parts
    # the tolerance keeps 0.5 in 0:0.5:0.1, where 0.1 is inexact in binary
    steps = (stop - start) / step + 1e-6
    if steps >= MAX_EPSILONS:
        raise ValueError(f"makes {steps + 1:.6g} epsilons, more than {MAX_EPSILONS}")
    # 0:0.3:0.1 must end with 0.3: 0.30000000000000004 would have another key
    return tuple(round(start + index * step, 12) for index in range(int(steps) + 1))
