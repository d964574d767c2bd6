"""The keys of a recipe: what each means, its unit, and the values it may take.

A recipe is a tree of frozen, strict pydantic models; an unknown key is an error. Defaults that depend on `fidelity`
lie in `fidelity.toml` beside this file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import (
    MOST,
    Count,
    Fraction,
    Momentum,
    Rate,
    Table,
    Whole,
    check_applicable,
    check_path,
    cross_table_error,
    registered,
)

# modes of torch.compile
COMPILE_MODES: Final = ("default", "reduce-overhead", "max-autotune")


class Data(Table):
    """Which images, and how they are split."""

    dataset: Annotated[str, *registered(registry.DATASETS)]
    path: Annotated[str, AfterValidator(check_path)] | None = Field(
        None, description="folder only: the image folder, with train/ and test/ (or val/) inside"
    )
    image_size: Annotated[int, Field(ge=8, le=512)] | None = Field(
        None,
        validate_default=True,
        description="side in pixels; folder and tiny_imagenet are resized to it, the others have one size",
    )
    channels: Literal[1, 3] | None = Field(None, description="folder only: 1 reads grey images, 3 colour")
    holdout: Whole = Field(
        0, description="training images set apart for validation, chosen by the seed (section 4.1: 5000)"
    )
    augment: Literal["none", "crop_flip"] = Field("none", description="crop_flip: pad by 4 and crop, mirror half")

    @field_validator("path", "image_size", "channels")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        return check_applicable(value, info, "dataset")

    @field_validator("image_size")
    @classmethod
    def _a_folder_needs_a_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("dataset") == "folder":
            raise ValueError("missing; images of a folder are resized to it, so add it to [data]")
        return value


class Model(Table):
    """F_theta and C_phi."""

    encoder: Annotated[str, *registered(registry.ENCODERS)]
    width: Annotated[int, Field(ge=1, le=2048)] = Field(64, description="number of base filters")
    norm: Literal["l2", "none", "scale"] = Field(
        "l2", description="feature normalisation; scale: l2 times a learnt scalar"
    )


class DefenseConfig(Table):
    """A defense's name, which decides its further keys, and the optimizer of L_C over theta and phi: SGD."""

    name: str
    lr_C: Rate = 0.1
    momentum_C: Momentum = 0.9
    weight_decay_C: Rate = 1e-4


class Natural(DefenseConfig):
    """NT: cross-entropy on natural images."""

    name: Literal["natural"]


class Adversarial(DefenseConfig):
    """AT: cross-entropy on adversarial images (Madry et al. 2018)."""

    name: Literal["adversarial"]


class Trades(DefenseConfig):
    """TRADES: cross-entropy plus beta times KL(p(x) || p(x')) (Zhang et al. 2019)."""

    name: Literal["trades"]
    beta: Rate = Field(6.0, description="weight of the KL term")


class Matching(DefenseConfig):
    """Representation matching (section 4.6): L_C plus weight times the mean of ||F(x) - F(x')||."""

    name: Literal["matching"]
    weight: Rate = Field(1.0, description="weight of the sensitivity term")


class AFD(DefenseConfig):
    """Adversarial Feature Desensitization (Algorithm 1)."""

    name: Literal["afd"]
    game: Literal["dcgan", "wgan", "hinge"] = Field("wgan", description="L_D and L_F: Eq. 9, 10; Eq. 11, 12; hinge")
    update: Literal["simultaneous", "sequential"] = Field(
        "simultaneous", description="the box of Algorithm 1, or the published code's order"
    )
    classify: Literal["clean", "both"] = Field("clean", description="L_C on x (Eq. 7), or on x and x'")
    discriminator: Annotated[str, *registered(registry.DISCRIMINATORS)] = "fc3-pd"
    hidden: Annotated[int, Field(ge=1, le=65_536)] = Field(512, description="hidden units of D_psi")
    spectral_norm: bool = True
    gp_weight: Rate = Field(0.0, description="gradient penalty on interpolated features; 0 skips it")
    gp_conditional: bool = Field(False, description="the penalty sees the labels too")
    lr_D: Rate = 0.1
    momentum_D: Momentum = 0.9
    weight_decay_D: Rate = 0.0
    lr_F: Rate = 0.5
    momentum_F: Momentum = 0.9
    weight_decay_F: Rate = 0.0


Defense = Annotated[Natural | Adversarial | Trades | Matching | AFD, Field(discriminator="name")]
DEFENSES: Final[Mapping[str, type[DefenseConfig]]] = {
    "natural": Natural,
    "adversarial": Adversarial,
    "trades": Trades,
    "matching": Matching,
    "afd": AFD,
}


class Attack(Table):
    """The training adversary, and the ball that validation and test attack within."""

    name: Annotated[str, *registered(registry.ADVERSARIES)] = "apgd_ce"
    norm: Literal["linf", "l2"] = "linf"
    epsilon: Fraction = Field(description='radius of the ball; images are in [0, 1], "8/255" is a legal value')
    steps: Count = Field(10, validate_default=True, description="gradient steps; n_fgsm takes one")
    step_size: Fraction | None = Field(None, description="pgd and pgd_kl, absolute; none: 2.5 epsilon / steps")
    random_start: bool = True
    return_iterate: Literal["best_loss", "last", "last_success"] = Field(
        "best_loss",
        description="which iterate becomes x'; last_success: the last that fooled the model, or x where none did",
    )
    warmup: Rate = Field(0.0, description="epochs over which epsilon grows from 0")
    ramp: Whole = Field(0, description="epochs over which the gradient steps grow to `steps`, in equal parts")
    n_fgsm: Whole = Field(
        0,
        description="first epochs, before the ramp, whose adversary is N-FGSM on cross-entropy: one step from noise "
        "(de Jorge et al. 2022)",
    )

    @field_validator("step_size")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        return check_applicable(value, info, "name")

    @property
    def growth(self) -> int:
        """The first epochs, whose adversary is weaker than the table's."""
        return self.n_fgsm + self.ramp

    @field_validator("steps")
    @classmethod
    def _n_fgsm_takes_one(cls, steps: int, info: ValidationInfo) -> int:
        if info.data.get("name") == "n_fgsm" and steps != 1:
            raise ValueError("n_fgsm takes one step: set steps = 1")
        return steps

    @field_validator("ramp", "n_fgsm")
    @classmethod
    def _n_fgsm_does_not_grow(cls, epochs: int, info: ValidationInfo) -> int:
        if info.data.get("name") == "n_fgsm" and epochs:
            raise ValueError("n_fgsm takes one step in all epochs: leave it out")
        return epochs

    @field_validator("epsilon")
    @classmethod
    def _is_in_image_units(cls, epsilon: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "linf" and epsilon > 1:
            raise ValueError(f"images are in [0, 1]; did you mean {epsilon:g}/255?")
        return epsilon


class Evaluation(Table):
    """PGD with the recipe's norm and epsilon, keeping the worst iterate; then Square on who still stands."""

    steps: Count = 20
    step_size: Fraction | None = Field(None, description="absolute; none: 2.5 epsilon / steps")
    queries: Whole = Field(
        0, description="of Square (Andriushchenko et al. 2020), which sees past masked gradients; 0: PGD alone"
    )
    limit: Count | None = Field(None, description="the first so many images of the split; none: all")
    batch_size: Count = 256


class Validation(Evaluation):
    """After each epoch, on the hold-out."""

    limit: Count = Field(1000, description="the first so many images of the hold-out")


class TestEvaluation(Evaluation):
    """Once, after the last epoch, on the test split."""

    steps: Count = 40


class Train(Table):
    """The loop."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(description="times that every training image is seen")
    batch_size: Annotated[int, Field(ge=2, le=MOST)] = Field(
        128, description="at least 2: BatchNorm cannot train on one image"
    )
    milestones: Annotated[tuple[Count, ...], Field(strict=False, max_length=1000)] = Field(
        (), description="epochs after which every rate is multiplied by lr_decay; those past the end never come"
    )
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    schedule: Literal["milestones", "one_cycle"] = Field(
        "milestones", description="one_cycle: every rate rises linearly from 0, then falls linearly to 0"
    )
    rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="one_cycle only: the share of the training in which the rates rise"
    )
    base_batch: Annotated[int, Field(ge=2, le=MOST)] | None = Field(
        None, description="the batch that the rates are meant for: they grow with batch_size / base_batch; none: fixed"
    )
    select: Literal["robust", "last"] = Field(
        "robust", description="`best` is the epoch with the highest accuracy on the attacked hold-out, or the last one"
    )
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="moving average of the network's weights, which is then what is validated, tested and attacked: "
        "the share that it keeps in a step, such as 0.995 (Gowal et al. 2020); 0: the weights themselves",
    )
    save_minutes: Annotated[float, Field(gt=0)] = Field(
        10.0, description="age of the last checkpoint at which the next is saved, also within an epoch"
    )
    report_every: Annotated[int, Field(ge=1, le=10_000)] = Field(
        10, description="steps between two journal writes; each step has its own line"
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32",
        description="floats of F_theta's encoder, in training and in its attacks; perturbations, losses, D_psi and "
        "verdicts are float32 in any case (ours: the paper names none)",
    )
    compile: Literal[False, "default", "reduce-overhead", "max-autotune"] = Field(
        False,
        description="torch.compile F_theta's encoder in this mode; on CUDA the last two also capture CUDA graphs "
        "(ours: off, as compiling takes a minute and may not pay)",
    )

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("must ascend, such as [50, 80]")
        return milestones

    @field_validator("compile", mode="before")
    @classmethod
    def _is_off_or_a_mode(cls, mode: Any) -> Any:
        if mode is not False and mode not in COMPILE_MODES:
            raise ValueError(f"must be false or one of {', '.join(map(repr, COMPILE_MODES))}")
        return mode

    @field_validator("schedule")
    @classmethod
    def _one_cycle_has_no_milestones(cls, schedule: str, info: ValidationInfo) -> str:
        if schedule == "one_cycle" and info.data.get("milestones"):
            raise ValueError("its rates fall by themselves: set milestones = []")
        return schedule


class Recipe(Table):
    """A whole recipe, resolved."""

    fidelity: Literal["sound", "paper", "official"] = "sound"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: Data
    model: Model
    defense: Defense
    attack: Attack
    train: Train
    validation: Validation = Validation()
    test: TestEvaluation = TestEvaluation()

    @field_validator("attack")
    @classmethod
    def _suits_the_defense(cls, attack: Attack, info: ValidationInfo) -> Attack:
        defense = info.data.get("defense")
        if isinstance(defense, Trades) and attack.name != "pgd_kl":
            raise cross_table_error("name", "defense 'trades' needs 'pgd_kl', the adversary that maximises its KL term")
        return attack

    @field_validator("train")
    @classmethod
    def _suits_the_tables_before(cls, train: Train, info: ValidationInfo) -> Train:
        data, attack = info.data.get("data"), info.data.get("attack")
        if attack and attack.warmup > train.epochs:
            raise cross_table_error("epochs", f"attack.warmup = {attack.warmup:g} is longer: epsilon is never reached")
        if attack and attack.growth and attack.growth >= train.epochs:
            grows = f"attack.n_fgsm + attack.ramp = {attack.growth}"
            raise cross_table_error("epochs", f"{grows}: no epoch is left for all attack.steps")
        if data and train.select == "robust" and not data.holdout:
            raise cross_table_error(
                "select", "'robust' chooses by the hold-out: set data.holdout, or select = \"last\""
            )
        return train
