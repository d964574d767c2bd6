"""The keys of [defense], for each defense, and of [attack], the adversary that most of them train against."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import (
    Count,
    CountOrZero,
    Fraction,
    Momentum,
    NonNegative,
    registered,
)
from afdctl.recipe.named_table import ByName, NamedTable, check_applicable, named
from afdctl.recipe.union import UnionConfig


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


class AdversaryConfig(NamedTable):
    """The training adversary; validation and test attack with its norm and epsilon."""

    kind = registry.ADVERSARIES
    key = "name"

    name: Annotated[str, *named(registry.ADVERSARIES)] = "apgd_ce"
    norm: Literal["linf", "l2", "l1"] = Field("linf", description="norm of the ball")
    epsilon: Fraction = Field(description='radius of the ball; images are in [0, 1], "8/255" is a legal value')
    # the default is validated too, as n_fgsm refuses it
    steps: Count = Field(10, validate_default=True, description="gradient steps; n_fgsm takes one")
    step_size: Fraction | None = Field(
        None, description="pgd, pgd_kl and pgd_lse only, absolute; none: 2.5 epsilon / steps"
    )
    random_start: bool = Field(True, description="start from a random point, not from x")
    return_iterate: Literal["best_loss", "last", "last_success"] = Field(
        "best_loss",
        description="which iterate becomes x'; last_success: the last that fooled the model, or x where none did",
    )
    epsilon_warmup_epochs: NonNegative = Field(0.0, description="epochs over which epsilon grows linearly from 0")
    steps_warmup_epochs: CountOrZero = Field(
        0, description="epochs over which the number of gradient steps grows to `steps`, in equal parts"
    )
    n_fgsm_epochs: CountOrZero = Field(
        0,
        description="first epochs, before those of steps_warmup_epochs, with N-FGSM on cross-entropy as the adversary: "
        "one step from random noise (de Jorge et al. 2022)",
    )
    union: UnionConfig | None = Field(
        None, description="table of further balls; validation and test attack in each of them"
    )

    @property
    def balls(self) -> dict[str, float]:
        """Norm -> radius of the ball, or of all balls of a union."""
        return {self.norm: self.epsilon, **(self.union.balls if self.union else {})}

    @field_validator("union")
    @classmethod
    def _fits_the_ball(cls, union: UnionConfig | None, info: ValidationInfo) -> UnionConfig | None:
        if union is None:
            return None
        name, norm = info.data.get("name"), info.data.get("norm")
        if norm in union.balls:
            raise ValueError(f"{norm} is the norm of attack.norm, with radius attack.epsilon; remove it here")
        if name == "n_fgsm" or info.data.get("n_fgsm_epochs"):
            raise ValueError("n_fgsm has no union of norms; use apgd_ce or pgd, without n_fgsm_epochs")
        if union.rule == "msd" and name != "pgd":
            raise ValueError('msd takes steps of PGD on the cross-entropy; set attack.name = "pgd", or rule = "random"')
        if union.rule == "max" and name in ("pgd_kl", "pgd_lse"):
            raise ValueError(f'max compares cross-entropies, which {name} does not maximise; set rule = "random"')
        if info.data.get("step_size") is not None:
            raise ValueError("steps are 2.5 epsilon / steps in each ball; remove attack.step_size")
        return union

    @field_validator("n_fgsm_epochs")
    @classmethod
    def _n_fgsm_has_no_sparse_step(cls, epochs: int, info: ValidationInfo) -> int:
        if epochs and info.data.get("norm") == "l1":
            raise ValueError("N-FGSM's one dense step hardly moves in l1; remove this key")
        return epochs

    @field_validator("norm")
    @classmethod
    def _has_a_step_in_the_norm(cls, norm: str, info: ValidationInfo) -> str:
        if norm == "l1" and info.data.get("name") == "n_fgsm":
            raise ValueError("n_fgsm's one dense step hardly moves in l1; use apgd_ce, pgd, pgd_kl or pgd_lse")
        return norm

    @field_validator("step_size")
    @classmethod
    def _has_key(cls, value: Any, info: ValidationInfo) -> Any:
        return check_applicable(value, info, AdversaryConfig)

    @property
    def curriculum_epochs(self) -> int:
        """The first epochs, which take fewer gradient steps than `steps`."""
        return self.n_fgsm_epochs + self.steps_warmup_epochs

    def shortened_warmups(self, epochs: int) -> dict[str, float]:
        """Return new values of the warm-ups that a training of `epochs` shortens: each then ends with the training.

        The last epoch takes all attack steps.
        """
        n_fgsm = min(self.n_fgsm_epochs, epochs - 1)
        longest = {
            "epsilon_warmup_epochs": epochs,
            "n_fgsm_epochs": n_fgsm,
            "steps_warmup_epochs": epochs - 1 - n_fgsm,
        }
        return {key: most for key, most in longest.items() if getattr(self, key) > most}

    def within(self, epochs: int) -> "AdversaryConfig":
        """Return the attack as a training of `epochs` uses it."""
        return self.model_copy(update=self.shortened_warmups(epochs))

    @field_validator("steps")
    @classmethod
    def _n_fgsm_takes_one(cls, steps: int, info: ValidationInfo) -> int:
        if info.data.get("name") == "n_fgsm" and steps != 1:
            raise ValueError("n_fgsm takes one step; set steps = 1")
        return steps

    @field_validator("steps_warmup_epochs", "n_fgsm_epochs")
    @classmethod
    def _n_fgsm_has_no_curriculum(cls, epochs: int, info: ValidationInfo) -> int:
        if info.data.get("name") == "n_fgsm" and epochs:
            raise ValueError("n_fgsm takes one step in all epochs; remove this key")
        return epochs

    @field_validator("epsilon")
    @classmethod
    def _is_in_image_units(cls, epsilon: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "linf" and epsilon > 1:
            raise ValueError(f"images are in [0, 1]; did you mean {epsilon:g}/255?")
        return epsilon


Adversary = Annotated[SerializeAsAny[AdversaryConfig], ByName()]
