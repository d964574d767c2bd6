"""Apply the performance settings of a recipe's [train] table: precision and compilation."""

from typing import Final

import torch

from afdctl.models.compiled import compile_in_place
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.precision import set_precision
from afdctl.recipe.schema import Train

# torch compiles at most eight variants of a function by default and runs the ninth without compiling it; the network
# and its folded twins share one count, and with and without gradients, for each batch size, they came to ten
VARIANTS: Final = 64


def apply_performance_settings(network: FeatureClassifier, train: Train) -> None:
    """Set the precision of the encoder, and compile it in `train.compile`'s mode; folded twins follow it."""
    set_precision(network, train.precision)
    if train.compile:
        torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
        compile_in_place(network.F_theta[0], train.compile)
