"""Rows of a journal as points of curves, and what a tool's writer does with them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afdctl.journal import Row


@dataclass(frozen=True)
class Point:
    """Values by name, such as `train/L_C`, at a training step; `t` is in seconds since 1970."""

    step: int
    t: float
    values: Mapping[str, float]


class PointMaker:
    """Makes points of a run's rows in order; the results of attacks and analyses are at the last step so far."""

    def __init__(self) -> None:
        self.step = 0

    def point(self, row: Row) -> Point | None:
        """Return what a row adds to the curves; None for a row without numbers."""
        values: Mapping[str, Any] = {}
        match row["event"]:
            case "step":
                self.step = row["step"]
                values = {f"train/{name}": value for name, value in row.items() if name not in ("step", "epoch", "t")}
            case "epoch":
                self.step = row["step"]
                values = {f"validation/{name}": value for name, value in row.items() if name.startswith("acc_")}
            case "test":
                group = f"test_{row['checkpoint']}"
                values = {f"{group}/{name}": value for name, value in row.items() if name.startswith("acc_")}
            case "cell":
                source = f"_from_{row['source']}" if row.get("source") else ""
                values = {f"attack/{row['attack']}{source}/{row['norm']}_{row['epsilon']:.4g}": row["accuracy"]}
            case "analysis":
                values = {f"analysis/{row['name']}/{name}": value for name, value in row["metrics"].items()}
            case "resume":
                # rows after it take the place of those with a larger step
                self.step = row["step"]
        numbers = {name: float(value) for name, value in values.items() if type(value) in (int, float)}
        return Point(self.step, float(row["t"]), numbers) if numbers else None


class TrackerWriter(ABC):
    """Writes one run to a tool: `folder` is for its files, `config` has the recipe's values by dotted key."""

    @abstractmethod
    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        """Open the tool's run of this name."""

    @abstractmethod
    def write(self, point: Point) -> None:
        """Add a point."""

    def restart(self, step: int) -> None:  # noqa: B027 (most tools have no such thing)
        """Drop the points after a step, from which the training resumes, where the tool can."""

    def flush(self) -> None:  # noqa: B027
        """Make the points so far visible, where the tool does not by itself."""

    @abstractmethod
    def close(self) -> str:
        """Finish, and return where the run is: a path or an address."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
