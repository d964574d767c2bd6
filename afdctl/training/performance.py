"""Settings of speed and arithmetic: precision, torch.compile, and the number of CPU threads."""

from typing import Final

import torch

from afdctl.models.compiled import compile_in_place
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.models.precision import set_precision
from afdctl.recipe.schema import Train

# torch compiles at most eight variants of a function by default and runs further ones uncompiled. The network and its
# fused copies share one count: with and without gradients, for each batch size, a training reaches ten.
RECOMPILE_LIMIT: Final = 64


def apply_performance_settings(network: FeatureClassifier, train: Train) -> None:
    """Set the encoder's precision and compile it in `train.compile`'s mode; fused copies made later follow."""
    set_precision(network, train.precision)
    if train.compile:
        torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
        compile_in_place(network.F_theta[0], train.compile)


def set_thread_count(threads: int) -> None:
    """Set this process's number of CPU threads, on which the rounding of sums depends."""
    torch.set_num_threads(threads)
