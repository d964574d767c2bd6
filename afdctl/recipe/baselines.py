"""The keys of [defense], for the methods that the paper does not compare with."""

from typing import Annotated, Literal

from pydantic import Field

from afdctl.recipe.defenses import BatchStatistics, DefenseConfig
from afdctl.recipe.fields import NonNegative


class Mart(DefenseConfig):
    """MART: boosted cross-entropy on x' plus beta times KL(p(x) || p(x')) (1 - p_y(x)) (Wang et al. 2020)."""

    name: Literal["mart"]
    beta: NonNegative = Field(5.0, description="weight of the KL term; lambda in the paper")
    batch_statistics: BatchStatistics = "separate"


class Score(DefenseConfig):
    """SCORE: TRADES with squared errors, ||p(x) - y||^2 plus beta times ||p(x) - p(x')||^2 (Pang et al. 2022)."""

    name: Literal["score"]
    beta: NonNegative = Field(6.0, description="weight of the term of x'")
    clip: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="the sum of both terms counts only above the squared error of this probability on wrong classes",
    )
    batch_statistics: BatchStatistics = "separate"


class LogitPairing(DefenseConfig):
    """ALP: L_C on x and x' plus weight times the mean squared difference of their logits (Kannan et al. 2018)."""

    name: Literal["alp"]
    weight: NonNegative = Field(0.5, description="weight of the logit pairing")
    batch_statistics: BatchStatistics = "separate"
