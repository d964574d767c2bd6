"""A run's network as a model to start from: weights in safetensors, and their card."""

from afdctl.evaluation.target import EvaluationTarget
from afdctl.export.weights.format import check_round_trip, exported_model
from afdctl.export.weights.single_file import SAFETENSORS
from afdctl.runs.describe_model import describe
from afdctl.runs.model_card import ModelCard
from afdctl.runs.record import Record


def pack_model(record: Record, target: EvaluationTarget, limits: str | None) -> tuple[bytes, ModelCard]:
    """Return the weights of a target on the CPU, read back and compared, and the card from its run's record.

    Errors: those of `describe` and `check_round_trip`.
    """
    model = exported_model(target)
    files = SAFETENSORS.pack(model)
    check_round_trip(model, SAFETENSORS, files)
    (weights,) = files.values()
    parameters = sum(parameter.numel() for parameter in target.network.parameters())
    return weights, describe(record, digest=target.digest, weights=weights, parameters=parameters, limits=limits)
