"""The contract of a format: what it is given, and how it is written and read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from afdctl import __version__, recipe
from afdctl.evaluation.target import EvaluationTarget
from afdctl.models import user_model
from afdctl.models.feature_classifier import build


def about(subject: EvaluationTarget) -> dict[str, Any]:
    """The metadata of a run's network; numbers and names only, so that each format can hold it."""
    run = subject.run
    common = {
        "schema": "afdctl/1",
        "afdctl": __version__,
        "run": run.name,
        "kind": run.kind,
        "checkpoint": subject.digest,
        "dataset": subject.dataset,
        "input_shape": list(subject.split.x.shape[1:]),
        "input_range": [0.0, 1.0],
        "output": "logits",
        "class_names": list(subject.class_names),
    }
    if run.kind == "external":
        return common | {key: run.provenance[key] for key in ("model", "mean", "std")}
    chosen = recipe.loads(run.recipe_text)
    model = {"encoder": chosen.model.encoder, "width": chosen.model.width, "feature_norm": chosen.model.norm}
    return common | model | {"threat_model": chosen.attack.norm}


def as_strings(facts: Mapping[str, Any]) -> dict[str, str]:
    """The metadata for a format that holds strings only: each value as JSON."""
    return {key: json.dumps(value) for key, value in facts.items()}


def of_strings(strings: Mapping[str, str]) -> dict[str, Any]:
    """What `as_strings` was given."""
    return {key: json.loads(value) for key, value in strings.items()}


def blank(facts: Mapping[str, Any]) -> nn.Module:
    """A network of the described architecture with weights of its own; the model's file is executed where it is one."""
    if facts["kind"] == "external":
        return user_model.load(facts["model"], None, facts["mean"], facts["std"], shape=facts["input_shape"])
    channels, image_size, _ = facts["input_shape"]
    network = build(
        facts["encoder"],
        width=facts["width"],
        norm=facts["feature_norm"],
        channels=channels,
        image_size=image_size,
        classes=len(facts["class_names"]),
    )
    return network.eval().requires_grad_(False)


Files = Mapping[str, bytes]
"""Contents by path, relative to the folder they go to; the weights come first."""
Logits = Callable[[Tensor], Tensor]
"""From images (n, c, h, w) in [0, 1] to logits (n, classes)."""


@dataclass(frozen=True)
class ExportedModel:
    """A network on the CPU in evaluation mode; `x` float32 (n, c, h, w) are the test images it is checked on.

    `name` is the file's without its extension, `about` what a reader must know: strings, numbers, and lists of them.
    """

    name: str
    network: nn.Module
    x: Tensor
    about: dict[str, Any]


@dataclass(frozen=True)
class WeightFormat:
    """`pack` writes, and `unpack` reads with the format's own library, knowing nothing but the files.

    `pack` raises RecipeError for a network that the format cannot hold. `needs` are modules of the optional `extra`.
    """

    pack: Callable[[ExportedModel], Files]
    unpack: Callable[[Files], Logits]
    needs: tuple[str, ...] = ()
    extra: str = ""
