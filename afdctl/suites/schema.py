"""The built-in attacks of a suite, each with the arguments of its function."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from afdctl import registry
from afdctl.recipe.fields import Count, Fraction
from afdctl.suites.attack_config import AttackConfig, Eot, FixedStepAttack, MinimumNormAttack


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
    eot: Eot = 1

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
        return self.eot * self.restarts * (self.steps + 1), self.eot * self.restarts * self.steps


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


class Noise(AttackConfig):
    """Worst case of random sign noise (Linf) or of random directions of length epsilon (L2); a sanity check."""

    name: Literal["noise"]
    norm: Literal["linf", "l2"] = "linf"
    samples: Count = 100

    def passes(self, classes: int) -> tuple[int, int]:
        return self.samples, 0


class Surrogate(AttackConfig):
    """Images made on a plain network that is distilled from the target's answers (Papernot et al. 2017)."""

    distils = True
    name: Literal["surrogate"]
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = Field(40, description="steps on the distilled network, each 2.5 epsilon / steps")
    epochs: Count = Field(10, description="passes over the training images, of which the target answers each")
    images: Count = Field(20_000, description="training images, at most")
    noise: Fraction = Field(0.15, description="largest noise on every other training image")

    def passes(self, classes: int) -> tuple[int, int]:
        # x and an image for each loss; see `surrogates.estimate_seconds` for the distillation
        return 3, 0


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
