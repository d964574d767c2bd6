"""The keys of [attack], the training adversary."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import Count, CountOrZero, Fraction, NonNegative, Precision
from afdctl.recipe.named_table import ByName, NamedTable, check_applicable, named
from afdctl.recipe.union import UnionConfig


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
    precision: Precision = Field(
        "float32",
        description="precision of F_theta's encoder in the attack's passes; steps, projections and x' are always "
        "float32; auto: bf16 where this device is faster in it (afdctl choice: the paper names none)",
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
