"""Figures of steps on their way to the journal: kept on the device, fetched together, checked for NaN."""

import math
import time
from typing import Any

import torch

from afdctl.defenses.base import Report


class Meter:
    """Collects reports of steps; `flush` waits for the device once and returns one row a step."""

    def __init__(self) -> None:
        self._reports: list[tuple[dict[str, Any], int, Report]] = []
        self._since = time.perf_counter()

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, row: dict[str, Any], images: int, report: Report) -> None:
        """Take a step's report; `row` holds what the host knows of it, `images` the size of its batch."""
        self._reports.append((row, images, report))

    def flush(self) -> list[dict[str, Any]]:
        """The rows since the last flush, with the images a second of that time."""
        if not self._reports:
            return []
        figures = torch.stack([torch.stack(list(report.values())) for _, _, report in self._reports]).tolist()
        speed = sum(images for _, images, _ in self._reports) / (time.perf_counter() - self._since)
        rows = [
            row | dict(zip(report, values, strict=True)) | {"images_per_s": speed}
            for (row, _, report), values in zip(self._reports, figures, strict=True)
        ]
        self.restart()
        return rows

    def restart(self) -> None:
        """Forget what was not flushed, and measure the speed from now on."""
        self._reports.clear()
        self._since = time.perf_counter()


def first_divergence(rows: list[dict[str, Any]]) -> tuple[int, str] | None:
    """The step and the name of the first loss or gradient norm that is NaN or infinite."""
    for row in rows:
        for name, value in row.items():
            if name.startswith(("L_", "grad_")) and not math.isfinite(value):
                return row["step"], name
    return None
