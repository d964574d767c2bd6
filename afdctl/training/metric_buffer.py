"""Figures of steps on their way to the journal: kept on the device, sent to the host together, checked for NaN."""

import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from afdctl.defenses.base import Report


class PendingTransfer(NamedTuple):
    """Rows whose figures (rows, names) are on their way to the host; `arrival` is None where they are there."""

    rows: list[dict[str, Any]]
    images: int
    names: tuple[str, ...]
    figures: Tensor
    arrival: torch.cuda.Event | None


class MetricBuffer:
    """Collects reports of steps. `flush` waits for all of them, `arrived` for those before the newest."""

    def __init__(self) -> None:
        self._reports: list[tuple[dict[str, Any], int, Report]] = []
        self._sent: list[PendingTransfer] = []
        self._since = time.perf_counter()

    def __len__(self) -> int:
        """How many reports wait to be sent."""
        return len(self._reports)

    def add(self, row: dict[str, Any], images: int, report: Report) -> None:
        """Take a step's report; `row` holds what the host knows of it, `images` the size of its batch."""
        self._reports.append((row, images, report))

    def flush(self) -> list[dict[str, Any]]:
        """All rows that were not returned yet, with the images a second of the time since the last were."""
        self._send()
        return self._receive(len(self._sent))

    def arrived(self) -> list[dict[str, Any]]:
        """The same without the newest, which a GPU may still be at, and which come the next time: it is never idle."""
        self._send()
        pending = bool(self._sent) and self._sent[-1].arrival is not None
        return self._receive(len(self._sent) - pending)

    def restart(self) -> None:
        """Forget what was not flushed, and measure the speed from now on."""
        self._reports.clear()
        self._sent.clear()
        self._since = time.perf_counter()

    def _send(self) -> None:
        if not self._reports:
            return
        rows, images, reports = zip(*self._reports, strict=True)
        figures = torch.stack([torch.stack(list(report.values())) for report in reports])
        # into page-locked memory, so that the host goes on at once
        on_host = figures.to("cpu", non_blocking=True)
        arrival = None
        if figures.is_cuda:
            with torch.cuda.device(figures.device):
                arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrival.record()
        self._sent.append(PendingTransfer(list(rows), sum(images), tuple(reports[0]), on_host, arrival))
        self._reports.clear()

    def _receive(self, count: int) -> list[dict[str, Any]]:
        """The rows of the first blocks; they share one speed, as it is not known when the first of them arrived."""
        blocks = self._sent[:count]
        if not blocks:
            return []
        if (arrival := blocks[-1].arrival) is not None:
            arrival.synchronize()
        now = time.perf_counter()
        speed = sum(block.images for block in blocks) / (now - self._since)
        self._since = now
        del self._sent[:count]
        return [
            row | dict(zip(block.names, values, strict=True)) | {"images_per_s": speed}
            for block in blocks
            for row, values in zip(block.rows, block.figures.tolist(), strict=True)
        ]


def first_divergence(rows: list[dict[str, Any]]) -> tuple[int, str] | None:
    """The step and the name of the first loss or gradient norm that is NaN or infinite."""
    for row in rows:
        for name, value in row.items():
            if name.startswith(("L_", "grad_")) and not math.isfinite(value):
                return row["step"], name
    return None
