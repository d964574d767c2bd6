"""The keys of a recipe: meaning, unit and allowed values of each.

A recipe is a tree of frozen, strict pydantic models; an unknown key is an error. Values that depend on `fidelity` are
in `presets.toml` beside this file.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from afdctl import registry
from afdctl.descriptors import DefenseDescriptor
from afdctl.recipe.adversary import Adversary, AdversaryConfig
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import AFD, Defense, DefenseConfig, Matching
from afdctl.recipe.fields import (
    MAX_COUNT,
    Count,
    CountOrZero,
    Fraction,
    Precision,
    Table,
    cross_table_error,
)
from afdctl.recipe.model import Model
from afdctl.recipe.named_table import ByName, NamedTable

# modes of torch.compile
COMPILE_MODES: Final = ("default", "reduce-overhead", "max-autotune")


class Validation(Table):
    """After an epoch, on the hold-out: APGD-CE; the probe then runs APGD-T and Square on what remains robust."""

    # a fifth of AutoAttack's 100 steps
    steps: Count = Field(20, description="steps of APGD-CE, and of APGD-T for each target")
    # of AutoAttack's 9 targets the likeliest ones fool nearly all that any of them fools
    targets: Count = Field(3, description="probe only: number of the likeliest other classes that APGD-T aims at")
    square_queries: Count = Field(
        300,
        description="probe only: queries of Square, which needs no gradients, so it detects gradient masking "
        "(Andriushchenko et al. 2020)",
    )
    # 95 % interval of +- 2.6 points at 90 %; epochs share the images, so their differences are more precise
    limit: Count = Field(500, description="only the first N images of the hold-out, which is in random order")
    batch_size: Count = 256


class TestEvaluation(Table):
    """Once, after the last epoch, on the test split: PGD (APGD-CE in l1) in each ball of the recipe, then Square."""

    steps: Count = 40
    step_size: Fraction | None = Field(None, description="absolute; none: 2.5 epsilon / steps")
    square_queries: CountOrZero = Field(
        0,
        description="queries of Square on the images that PGD did not fool (Andriushchenko et al. 2020); it needs no "
        "gradients, so it detects gradient masking; 0: PGD alone",
    )
    limit: Count | None = Field(None, description="only N images, the random sample that --limit takes; none: all")
    batch_size: Count = 256


class Train(Table):
    """The training loop."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(description="passes over the training images")
    batch_size: Annotated[int, Field(ge=2, le=MAX_COUNT)] = Field(
        128, description="at least 2, because BatchNorm cannot train on one image"
    )
    # TOML has lists, and strict mode takes only Python's tuples
    milestones: Annotated[tuple[Count, ...], Field(strict=False, max_length=1000)] = Field(
        (),
        description="epochs after which every learning rate is multiplied by lr_decay; no effect after the last epoch",
    )
    lr_decay: Annotated[float, Field(gt=0, le=1)] = Field(0.1, description="factor at each milestone")
    schedule: Literal["milestones", "cosine", "one_cycle"] = Field(
        "milestones",
        description="of every learning rate, after the warm-up. milestones: constant between them; cosine: falls to 0 "
        "along half a cosine; one_cycle: falls linearly to 0",
    )
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="fraction of the training in which every learning rate rises linearly from 0; none: 0.3 with "
        "one_cycle, else 0",
    )
    reference_batch_size: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = Field(
        None,
        description="batch size for which the learning rates are given; they are multiplied by batch_size / "
        "reference_batch_size; none: used as given",
    )
    checkpoint_selection: Literal["probe", "robust", "last"] = Field(
        "robust",
        description="epoch of the checkpoint `best`. probe: with the highest hold-out accuracy under APGD-CE, APGD-T "
        "and Square, measured as often as 5 % of the training allow; robust: under APGD-CE alone; last: the last",
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="decay per step of the exponential moving average of the network's weights, such as 0.995 (Gowal "
        "et al. 2020); the average is what is validated, tested and attacked; 0: no average",
    )
    freeze: Annotated[tuple[Literal["F_theta", "C_phi"], ...], Field(strict=False)] = Field(
        (),
        description="parts that keep the weights and BatchNorm statistics that they start with, such as "
        '["F_theta"] to train C_phi alone',
    )
    save_minutes: Annotated[float, Field(gt=0)] = Field(
        10.0, description="age of the last checkpoint at which the next one is saved, also within an epoch"
    )
    report_every: Annotated[int, Field(ge=1, le=10_000)] = Field(
        10, description="steps between two writes of the journal; each step has its own line"
    )
    precision: Precision = Field(
        "float32",
        description="precision of F_theta's encoder in the passes that train it; losses, D_psi and verified accuracies "
        "are always float32; auto: bf16 where this device is faster in it (afdctl choice: the paper names none)",
    )
    sync_batch_norm: bool = Field(
        True,
        description="with several processes: BatchNorm uses the statistics of the whole batch, so that the training is "
        "that of one process; false: each process those of its part of the batch (afdctl choice)",
    )
    compile: Literal[False, "default", "reduce-overhead", "max-autotune"] = Field(
        False,
        description="mode of torch.compile for F_theta's encoder; on CUDA the last two also capture CUDA graphs "
        "(afdctl choice: off, because compiling takes a minute and may not pay)",
    )

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("must ascend, such as [50, 80]")
        return milestones

    @field_validator("freeze")
    @classmethod
    def _leaves_a_part(cls, freeze: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(freeze)) > 1:
            raise ValueError("freezes the whole network; name F_theta or C_phi")
        return freeze[:1]

    @field_validator("compile", mode="before")
    @classmethod
    def _is_off_or_a_mode(cls, mode: Any) -> Any:
        # pydantic's message would list Python's False, which TOML does not have
        if mode is not False and mode not in COMPILE_MODES:
            raise ValueError(f"must be false or one of {', '.join(map(repr, COMPILE_MODES))}")
        return mode

    @field_validator("schedule")
    @classmethod
    def _others_have_no_milestones(cls, schedule: str, info: ValidationInfo) -> str:
        if schedule != "milestones" and info.data.get("milestones"):
            raise ValueError(f"{schedule} lowers the learning rates itself; set milestones = []")
        return schedule


class Recipe(Table):
    """A complete recipe, with every value resolved."""

    fidelity: Literal["sound", "paper", "official"] = Field(
        "sound", description="preset where they differ: afdctl's choice, the paper, or its published code"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="seed of every random generator of the run")
    # before the tables, whose checks across tables need it
    user_code: dict[str, dict[str, Any]] | None = Field(
        None,
        description="written by afdctl: attributes, files and digests of the user code that the recipe names",
    )
    data: Annotated[SerializeAsAny[Data], ByName()]
    model: Annotated[SerializeAsAny[Model], ByName()]
    defense: Defense
    attack: Adversary
    train: Train
    validation: Validation = Validation()
    test: TestEvaluation = TestEvaluation()

    @field_validator("defense")
    @classmethod
    def _margin_needs_cosines(cls, defense: DefenseConfig, info: ValidationInfo) -> DefenseConfig:
        model = info.data.get("model")
        if model and defense.margin and model.cosine_scale is None:
            raise cross_table_error("margin", "is of a cosine; set model.cosine_scale too, such as 15")
        return defense

    @field_validator("attack")
    @classmethod
    def _fits_defense(cls, attack: AdversaryConfig, info: ValidationInfo) -> AdversaryConfig:
        defense = info.data.get("defense")
        own = (info.data.get("user_code") or {}).get("defense")
        needed = registry.describe(registry.DEFENSES, defense.name, own).adversary if defense else ""
        if defense and needed and attack.name != needed:
            raise cross_table_error("name", f"defense '{defense.name}' needs the adversary '{needed}'")
        return attack

    @field_validator("test")
    @classmethod
    def _fits_attack(cls, test: TestEvaluation, info: ValidationInfo) -> TestEvaluation:
        attack = info.data.get("attack")
        if attack and test.step_size is not None and (attack.union or attack.norm == "l1"):
            balls = "a union of norms" if attack.union else "l1"
            raise cross_table_error("step_size", f"in {balls} the length of a step is the attack's own; remove it")
        return test

    @field_validator("train")
    @classmethod
    def _fits_other_tables(cls, train: Train, info: ValidationInfo) -> Train:
        # tables are validated in their order above; one that failed is missing here
        data = info.data.get("data")
        selection = train.checkpoint_selection
        if data and selection != "last" and not data.holdout:
            raise cross_table_error(
                "checkpoint_selection",
                f"'{selection}' needs a hold-out; set data.holdout, or checkpoint_selection = \"last\"",
            )
        defense = info.data.get("defense")
        if isinstance(defense, AFD | Matching) and "F_theta" in train.freeze:
            raise cross_table_error(
                "freeze", f"defense '{defense.name}' trains F_theta against x'; freeze it with another defense"
            )
        return train

    @property
    def descriptor(self) -> DefenseDescriptor:
        """The defense's descriptor, as recorded where it is a user's."""
        return registry.describe(registry.DEFENSES, self.defense.name, (self.user_code or {}).get("defense"))

    @property
    def method(self) -> str:
        """The name of the defense in tables: NT, AT, TRADES, AFD-WGAN."""
        return self.descriptor.method(self.defense.model_dump(), self.attack.model_dump())

    @property
    def dataset(self) -> str:
        """The name of the data set; the label of a user's own."""
        return self._name_of("data", self.data)

    @property
    def encoder(self) -> str:
        """The name of the encoder; the label of a user's own."""
        return self._name_of("model", self.model)

    def _name_of(self, name: str, table: NamedTable) -> str:
        own = (self.user_code or {}).get(name)
        return str(own["label"]) if own else str(getattr(table, table.key))
