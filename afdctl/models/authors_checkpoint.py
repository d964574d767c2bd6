"""Checkpoints of the authors' code (github.com/BashivanLab/afd): maps their names of weights to ours.

`afd_train.py` saves a dict of E (encoder), Dc (classifier) and EDa (encoder and discriminator); `adv_train.py` saves
only the weights of the pair (E, Dc). With several GPUs some names begin with `module.`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from afdctl.errors import RecipeError
from afdctl.models.state_dict_io import is_weight, parse, read_bytes, stripped

STEM = {"conv1": "stem.conv", "bn1": "stem.bn"}
BLOCK = {
    "conv1": "first.conv",
    "bn1": "first.bn",
    "conv2": "second.conv",
    "bn2": "second.bn",
    "shortcut.0": "shortcut.conv",
    "shortcut.1": "shortcut.bn",
}
# of the CIFAR and of the MNIST networks
CLASSIFIER = {"linear": "C_phi", "linear2": "C_phi"}
DISCRIMINATOR = {"linear1": "body.0", "linear2": "body.2", "l7": "score", "l_y": "embedding"}
SPECTRAL = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}
# the authors' encoders that this package has too, and how they normalise features
FEATURE_NORMS = {"resnet18norm": "l2", "resnet18": "none"}


@dataclass(frozen=True)
class AuthorsCheckpoint:
    """Weights under our names. `discriminator` and `encoder` (the authors' name of it) may be missing in the file.

    `digest` is the file's SHA-256 in hexadecimal.
    """

    network: dict[str, Any]
    discriminator: dict[str, Any] | None
    encoder: str | None
    digest: str

    def check_norm(self, norm: str, path: Path) -> None:
        """Raise RecipeError for an encoder that this package does not have, or that normalises differently."""
        if self.encoder is None:
            return
        norm_of_file = FEATURE_NORMS.get(self.encoder)
        if norm_of_file is None:
            known = " and ".join(FEATURE_NORMS)
            raise RecipeError(f"{path}: its encoder is {self.encoder}; only {known} can be imported")
        if norm_of_file != norm:
            raise RecipeError(
                f'{path}: its encoder is {self.encoder}, the recipe has model.norm = "{norm}"; '
                f"add --set model.norm={norm_of_file}"
            )


def load(path: Path) -> AuthorsCheckpoint:
    """Read a checkpoint. Errors: NotFoundError, CorruptError, RecipeError for any other kind of file."""
    data = read_bytes(path)
    payload = parse(data, path)
    encoder, classifier = _pair(payload)
    if not encoder or not classifier:
        raise RecipeError(f"{path}: not a checkpoint of the authors' AFD code (no E_state_dict and Dc_state_dict)")
    network = _renamed(encoder, lambda name: f"F_theta.0.{encoder_name(name)}") | _renamed(classifier, classifier_name)
    adversary = _weights(payload.get("EDa_state_dict"))
    weights = {name: value for name, value in adversary.items() if not name.startswith("encoder.")}
    discriminator = _renamed(weights, discriminator_name) if weights else None
    return AuthorsCheckpoint(network, discriminator, payload.get("enc_model"), sha256(data).hexdigest())


def encoder_name(name: str) -> str:
    """`layers.1.0.conv1.weight` (MNIST) or `layer1.0.conv1.weight` (CIFAR) to `stages.0.0.first.conv.weight`."""
    block = re.fullmatch(r"(?:layers\.|layer)(\d)\.(\d)\.(.+)\.(\w+)", name)
    if block is None:
        return _with_head(name, STEM)
    stage, index, part, tensor = block.groups()
    return f"stages.{int(stage) - 1}.{index}.{BLOCK.get(part, part)}.{tensor}"


def classifier_name(name: str) -> str:
    """`linear.weight` to `C_phi.weight`."""
    return _with_head(name, CLASSIFIER)


def discriminator_name(name: str) -> str:
    """`l7.weight_orig` to `score.parametrizations.weight.original`."""
    head, _, tensor = _with_head(name, DISCRIMINATOR).rpartition(".")
    return f"{head}.{SPECTRAL.get(tensor, tensor)}"


def _with_head(name: str, heads: Mapping[str, str]) -> str:
    head, dot, rest = name.partition(".")
    return f"{heads.get(head, head)}{dot}{rest}"


def _renamed(state: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    return {rename(name): value for name, value in state.items()}


def _weights(value: Any) -> dict[str, Any]:
    """Return a state dict without the prefix of several GPUs; an empty one for anything else."""
    if not isinstance(value, Mapping) or not all(map(is_weight, value, value.values())):
        return {}
    return stripped(value)


def _pair(payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights of E and of Dc, both empty for any other kind of file."""
    if not isinstance(payload, Mapping):
        return {}, {}
    if "E_state_dict" in payload:
        return _weights(payload["E_state_dict"]), _weights(payload.get("Dc_state_dict"))
    pair = _weights(payload)
    encoder, classifier = (
        {name.removeprefix(start): value for name, value in pair.items() if name.startswith(start)}
        for start in ("0.", "1.")
    )
    return (encoder, classifier) if len(encoder) + len(classifier) == len(pair) else ({}, {})
