"""The keys of a recipe's [defense] table, for each defense."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from afdctl import registry
from afdctl.recipe.fields import Momentum, NonNegative, Table, registered


class DefenseConfig(Table):
    """A defense and its SGD optimizer of L_C over theta and phi; `name` decides the further keys."""

    name: str
    lr_C: NonNegative = Field(0.1, description="learning rate of L_C")
    momentum_C: Momentum = 0.9
    weight_decay_C: NonNegative = 1e-4


class Natural(DefenseConfig):
    """NT: cross-entropy on natural images."""

    name: Literal["natural"]


class Adversarial(DefenseConfig):
    """AT: cross-entropy on adversarial images (Madry et al. 2018)."""

    name: Literal["adversarial"]


class Trades(DefenseConfig):
    """TRADES: cross-entropy plus beta times KL(p(x) || p(x')) (Zhang et al. 2019)."""

    name: Literal["trades"]
    beta: NonNegative = Field(6.0, description="weight of the KL term")


class Matching(DefenseConfig):
    """Representation matching (section 4.6): L_C plus weight times the mean of ||F(x) - F(x')||."""

    name: Literal["matching"]
    weight: NonNegative = Field(1.0, description="weight of the sensitivity term")


class AFD(DefenseConfig):
    """Adversarial Feature Desensitization (Algorithm 1)."""

    name: Literal["afd"]
    game: Literal["dcgan", "wgan", "hinge"] = Field(
        "wgan", description="L_D and L_F: dcgan Eq. 9 and 10, wgan Eq. 11 and 12, hinge loss"
    )
    update: Literal["simultaneous", "sequential"] = Field(
        "simultaneous",
        description="simultaneous: all losses, then all updates (Algorithm 1); sequential: in turn (published code)",
    )
    classify: Literal["clean", "both"] = Field("clean", description="L_C on x (Eq. 7), or on x and x'")
    discriminator: Annotated[str, *registered(registry.DISCRIMINATORS)] = "fc3-pd"
    hidden: Annotated[int, Field(ge=1, le=65_536)] = Field(512, description="hidden units of D_psi")
    spectral_norm: bool = Field(True, description="spectral normalisation of D_psi's layers")
    gp_weight: NonNegative = Field(
        0.0, description="weight of the gradient penalty on interpolated features; 0: no penalty"
    )
    gp_conditional: bool = Field(False, description="give the labels to the discriminator in the penalty")
    lr_D: NonNegative = Field(0.1, description="learning rate of L_D")
    momentum_D: Momentum = 0.9
    weight_decay_D: NonNegative = 0.0
    lr_F: NonNegative = Field(0.5, description="learning rate of L_F")
    momentum_F: Momentum = 0.9
    weight_decay_F: NonNegative = 0.0


Defense = Annotated[Natural | Adversarial | Trades | Matching | AFD, Field(discriminator="name")]
DEFENSES: Final[Mapping[str, type[DefenseConfig]]] = {
    "natural": Natural,
    "adversarial": Adversarial,
    "trades": Trades,
    "matching": Matching,
    "afd": AFD,
}
