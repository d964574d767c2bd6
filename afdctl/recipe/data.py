"""The keys of [data]: the data set, its split, extra images and augmentation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from afdctl import registry
from afdctl.recipe.fields import Count, CountOrZero, check_path
from afdctl.recipe.named_table import NamedTable, check_applicable, named


class Data(NamedTable):
    """The data set, its split and its augmentation."""

    kind = registry.DATASETS
    key = "dataset"

    dataset: Annotated[str, *named(registry.DATASETS)] = Field(description="`afdctl data ls` lists them")
    path: Annotated[str, AfterValidator(check_path)] | None = Field(
        None,
        description="folder: the folder with train/ and test/ (or val/); arrays: the .npz, .safetensors or .h5 file "
        "with x_train, y_train, x_test and y_test",
    )
    # validated also where it is missing, because a folder needs it
    image_size: Annotated[int, Field(ge=8, le=512)] | None = Field(
        None,
        validate_default=True,
        description="side in pixels that images of folder and tiny_imagenet are resized to; others have one size",
    )
    channels: Literal[1, 3] | None = Field(None, description="folder only: 1 reads images as grey, 3 as colour")
    holdout: CountOrZero = Field(
        0, description="training images held out for validation, drawn with the seed (section 4.1: 5000)"
    )
    train_limit: Count | None = Field(
        None, description="train on N of the images that are not held out, drawn with the seed; none: on all of them"
    )
    extra: Annotated[str, AfterValidator(check_path)] | None = Field(
        None,
        description="file of more images to train on, such as generated ones: arrays x_train and y_train, or image and "
        "label",
    )
    extra_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        validate_default=True,
        description="share of each batch that is drawn from `extra`; an epoch remains as long (Gowal et al. 2021)",
    )
    augment: Literal["none", "crop", "crop_flip"] = Field(
        "none",
        description="crop: pad by crop_padding pixels and crop at random; crop_flip: also mirror half of the images",
    )
    crop_padding: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="zero pixels around an image before it is cropped; 2 suits the 28 x 28 pixels of MNIST"
    )

    random_erasing: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="probability that a rectangle of an image is blacked out (Zhong et al. 2020)"
    )
    cutmix: Annotated[float, Field(ge=0, le=100)] = Field(
        0.0,
        description="alpha of the Beta distribution from which CutMix draws the share of an image that it keeps; the "
        "rest is a rectangle of another image of the batch, and labels mix in proportion (Yun et al. 2019); 0: off",
    )

    @field_validator("cutmix")
    @classmethod
    def _has_a_beta_distribution(cls, alpha: float) -> float:
        # float32 has no smaller ones with samples other than 0 and 1
        if 0 < alpha < 0.01:
            raise ValueError("must be 0, which is off, or at least 0.01")
        return alpha

    @field_validator("extra_share")
    @classmethod
    def _belongs_to_extra(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "extra" in info.data and (value is None) != (info.data["extra"] is None):
            raise ValueError("missing; data.extra needs it" if value is None else "needs data.extra, a file of images")
        return value

    @field_validator("path", "image_size", "channels")
    @classmethod
    def _has_key(cls, value: Any, info: ValidationInfo) -> Any:
        return check_applicable(value, info, Data)

    @field_validator("image_size")
    @classmethod
    def _folder_needs_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("dataset") == "folder":
            raise ValueError("missing; add it to [data]: images of a folder are resized to it")
        return value
