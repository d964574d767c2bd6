"""Put the weights that a training starts from into its network, also where only the encoder's fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from afdctl.errors import RecipeError
from afdctl.formatting import shorten_list
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.state_dict_io import load_state_dict_strict, stripped

# the names of this package's networks begin with these
ENCODER, NORM, HEAD = "F_theta.0.", "F_theta.1.", "C_phi."


def load_initial_weights(
    network: FeatureClassifier, state: Mapping[str, Any], where: Path, norm: str | None = None
) -> list[str]:
    """Load the state dict of the file `where`, and return notes on what it does not decide.

    It is of a network of this package, whose features are normalised as `norm` says, or of an encoder alone, perhaps
    with its own classifier, as timm's files are. C_phi keeps its random weights for another number of classes and for
    an encoder's file. Errors: RecipeError for another encoder or feature normalisation.
    """
    state = stripped(state, list(network.state_dict()))
    if not any(name.startswith(ENCODER) for name in state):
        return _load_encoder(network, state, where)
    norm = norm or state.get(f"{NORM}_extra_state")
    mode = network.F_theta[1].mode
    if norm is not None and norm != mode:
        raise RecipeError(
            f'{where}: its features are normalised by "{norm}", those of the recipe by "{mode}"; set '
            f'model.norm = "{norm}"'
        )
    own, notes = network.state_dict(), []
    weight = state.get(f"{HEAD}weight")
    if isinstance(weight, Tensor) and weight.shape[1:] == network.C_phi.weight.shape[1:]:
        classes, mine = len(weight), len(network.C_phi.weight)
        if classes != mine:
            state |= {name: value for name, value in own.items() if name.startswith(HEAD)}
            notes = [f"{where}: has {classes} classes, the data set {mine}; C_phi starts from random weights"]
    load_state_dict_strict(network, state, where)
    return notes


def _load_encoder(network: FeatureClassifier, state: Mapping[str, Any], where: Path) -> list[str]:
    """Load an encoder's state dict, of which a last layer may be left over: its own classifier."""
    encoder = network.F_theta[0]
    own = encoder.state_dict()
    state = stripped(state, list(own))
    others = [name for name in state if name not in own]
    # one layer of weights and biases; more is another network
    head = others if len({name.rpartition(".")[0] for name in others}) == 1 else []
    load_state_dict_strict(encoder, {name: value for name, value in state.items() if name not in head}, where)
    unused = f" (without {shorten_list(head)})" if head else ""
    return [f"{where}: has the weights of F_theta{unused}; C_phi starts from random weights"]
