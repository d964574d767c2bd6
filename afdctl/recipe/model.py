"""The keys of [model]: the network, and the weights that it starts from."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import Digest, check_path
from afdctl.recipe.named_table import NamedTable, named

DEFAULT_WIDTH: Final = 64


class Model(NamedTable):
    """The network: F_theta (encoder) and C_phi (classifier)."""

    kind = registry.ENCODERS
    key = "encoder"

    encoder: Annotated[str, *named(registry.ENCODERS)] = Field(description="network of F_theta")
    # validated also where it is missing, because most encoders have a default
    width: Annotated[int, Field(ge=1, le=2048)] | None = Field(
        None,
        validate_default=True,
        description="number of base filters, 64 by default; wrn-D-K and timm:NAME have no such key",
    )
    norm: Literal["l2", "none", "scale"] = Field(
        "l2", description="normalisation of the features; scale: l2 times a learned scalar"
    )
    cosine_scale: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="logits are this times the cosine of the angle between features and a class's weights (HE: Pang et "
        "al. 2020); none: C_phi is linear",
    )
    weights: Annotated[str, AfterValidator(check_path)] | None = Field(
        None,
        description="what the training starts from instead of random weights: a run (its best checkpoint) by name or "
        "path, model:NAME, or a .pt, .pth or .safetensors file",
    )
    weights_sha256: Digest | None = Field(
        None, description="SHA-256 that `weights` must have; the recipe of a run has it"
    )

    @field_validator("width")
    @classmethod
    def _fits_encoder(cls, width: int | None, info: ValidationInfo) -> int | None:
        encoder = info.data.get("encoder")
        # an encoder that failed its own check is missing here
        descriptor = encoder and registry.ENCODERS.get(encoder)
        if descriptor and "width" not in descriptor.keys:
            if width is not None:
                raise ValueError(f"{encoder} has no such key: its name decides the number of filters")
            return None
        return DEFAULT_WIDTH if width is None else width

    @property
    def size(self) -> str:
        """The encoder in a table: `resnet18, width 64`."""
        return self.encoder if self.width is None else f"{self.encoder}, width {self.width}"

    @property
    def architecture(self) -> dict[str, Any]:
        """The keys that decide the network, as arguments of `models.feature_classifier.build`."""
        return self.model_dump(include={"encoder", "width", "norm", "cosine_scale"}) | self.own_values(Model)

    @field_validator("weights_sha256")
    @classmethod
    def _is_of_weights(cls, digest: str | None, info: ValidationInfo) -> str | None:
        if digest is not None and info.data.get("weights") is None:
            raise ValueError("has no effect without model.weights; remove it")
        return digest
