"""The keys of [attack.union]: further balls around an image that a network is to be robust in at once."""

from typing import Literal, Self

from pydantic import Field, model_validator

from afdctl.recipe.fields import Fraction, Table


class UnionConfig(Table):
    """The balls besides that of [attack], and which of them the adversary attacks in."""

    rule: Literal["random", "max", "msd"] = Field(
        "random",
        description="random: one norm for each batch (Croce and Hein 2022, Madaan et al. 2021); max: for each image "
        "the norm with the largest loss (Tramèr and Boneh 2019), at the cost of all; msd: for each step the norm with "
        "the largest loss (Maini et al. 2020), with pgd",
    )
    linf: Fraction | None = Field(None, le=1, description="radius of a further ball in linf")
    l2: Fraction | None = Field(None, description="radius of a further ball in l2")
    l1: Fraction | None = Field(None, description="radius of a further ball in l1")

    @property
    def balls(self) -> dict[str, float]:
        """Norm -> radius."""
        radii = {"linf": self.linf, "l2": self.l2, "l1": self.l1}
        return {norm: radius for norm, radius in radii.items() if radius is not None}

    def scaled(self, factor: float) -> Self:
        """Return the balls with their radii times `factor`."""
        return self.model_copy(update={norm: radius * factor for norm, radius in self.balls.items()})

    @model_validator(mode="after")
    def _has_a_ball(self) -> Self:
        if not self.balls:
            raise ValueError("has no further ball; add a radius, such as l2 = 0.5")
        return self
