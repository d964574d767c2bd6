"""The keys of [defense], for each defense."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import (
    CountOrZero,
    Momentum,
    NonNegative,
    registered,
)
from afdctl.recipe.named_table import ByName, NamedTable, named


class DefenseConfig(NamedTable):
    """A defense and its SGD optimizer of L_C over theta and phi; `name` decides the further keys."""

    kind = registry.DEFENSES
    key = "name"

    name: Annotated[str, *named(registry.DEFENSES)]
    lr_C: NonNegative = Field(0.1, description="learning rate of L_C")
    momentum_C: Momentum = 0.9
    nesterov_C: bool = Field(False, description="Nesterov momentum in the optimizer of L_C")
    weight_decay_C: NonNegative = 1e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of each label that L_C spreads evenly over all classes; the adversary, the KL term of "
        "TRADES, L_D and L_F never see it",
    )
    margin: Annotated[float, Field(ge=0, lt=2)] = Field(
        0.0,
        description="HE, needs model.cosine_scale: L_C lowers the cosine of the label's class by this much (Pang et "
        "al. 2020); the adversary never sees it",
    )
    awp_gamma: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="AWP: each step is made at weights that a move of awp_gamma times their norm, up the gradient of "
        "the defense's own losses, has changed (Wu et al. 2020); 0: none",
    )
    awp_warmup_epochs: CountOrZero = Field(0, description="first epochs, without AWP")

    @field_validator("nesterov_C", "nesterov_D", "nesterov_F", check_fields=False)
    @classmethod
    def _nesterov_needs_momentum(cls, value: bool, info: ValidationInfo) -> bool:
        momentum = str(info.field_name).replace("nesterov", "momentum")
        if value and info.data.get(momentum) == 0:
            raise ValueError(f"needs momentum; set {momentum}, such as 0.9")
        return value


BatchStatistics = Annotated[
    Literal["separate", "joint"],
    Field(
        description="separate: BatchNorm normalises x and x' each by their own statistics, although both share the "
        "running statistics that the trained network uses (published code); joint: both by those of one batch"
    ),
]


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
    batch_statistics: BatchStatistics = "separate"


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
    classify: Literal["clean", "both", "adversarial"] = Field(
        "clean", description="images that L_C is computed on: clean: x (Eq. 7); both: x and x'; adversarial: x'"
    )
    batch_statistics: BatchStatistics = "separate"
    discriminator: Annotated[str, *registered(registry.DISCRIMINATORS)] = "fc3-pd"
    hidden: Annotated[int, Field(ge=1, le=65_536)] = Field(512, description="hidden units of D_psi")
    spectral_norm: bool = Field(True, description="spectral normalisation of D_psi's layers")
    gp_weight: NonNegative = Field(
        0.0, description="weight of the gradient penalty on interpolated features; 0: no penalty"
    )
    gp_conditional: bool = Field(False, description="give the labels to the discriminator in the penalty")
    lr_D: NonNegative = Field(0.1, description="learning rate of L_D")
    momentum_D: Momentum = 0.9
    nesterov_D: bool = False
    weight_decay_D: NonNegative = 0.0
    lr_F: NonNegative = Field(0.5, description="learning rate of L_F")
    momentum_F: Momentum = 0.9
    nesterov_F: bool = False
    weight_decay_F: NonNegative = 0.0

    @field_validator("batch_statistics")
    @classmethod
    def _joint_needs_one_pass(cls, statistics: str, info: ValidationInfo) -> str:
        if statistics == "joint" and info.data.get("update") == "sequential":
            raise ValueError(
                'joint needs update = "simultaneous"; the published order passes x and x\' at different weights'
            )
        return statistics


Defense = Annotated[SerializeAsAny[DefenseConfig], ByName()]
