"""Journals for other tools: TensorBoard, wandb, trackio and mlflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Tool:
    """Where a tool's writer is, the modules that it needs, and the package that has them."""

    place: str
    needs: str
    package: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install '{self.package}'"


# in text: an option is checked without importing any of them
TOOLS: Final[Mapping[str, Tool]] = {
    "tensorboard": Tool("afdctl.export.trackers.tensorboard:TensorBoard", "tensorboard", "afdctl[tensorboard]"),
    "wandb": Tool("afdctl.export.trackers.services:Wandb", "wandb", "afdctl[wandb]"),
    "trackio": Tool("afdctl.export.trackers.services:Trackio", "trackio", "afdctl[trackio]"),
    "mlflow": Tool("afdctl.export.trackers.services:MLflow", "mlflow", "afdctl[mlflow]"),
}
