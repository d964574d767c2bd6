"""Load and memory of the machine: GPU, CPU, memory, disk and the trainer's share, measured and drawn as a pane."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from afdctl.formatting import format_bytes
from afdctl.tui.drawing.cells import Cells, Palette, draw_bar

BAR_BEGIN, BAR_END = 7, 17
MAX_GPUS = 2
# without a checkpoint to measure, one is assumed to have this many bytes
ASSUMED_CHECKPOINT_BYTES = 5e7


@dataclass(frozen=True)
class Gpu:
    """Load and memory of a GPU: percent, bytes, degrees Celsius."""

    load: float
    used: float
    total: float
    temperature: float | None


@dataclass(frozen=True)
class System:
    """CPU load in percent, memory and free disk in bytes; `trainer`: its percent of one core, its memory."""

    cpu: float = 0.0
    cores: int = 1
    used: float = 0.0
    total: float = 0.0
    free: float | None = None
    trainer: tuple[float, float] | None = None
    gpus: tuple[Gpu, ...] = ()


class SystemMonitor:
    """Reads the state of the machine; what is not available is left out."""

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self._nvml: Any = None
        # without a driver there are many kinds of errors, and a deprecated package of this name warns
        with suppress(Exception), warnings.catch_warnings(action="ignore"):
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
        psutil.cpu_percent(None)

    def read(self, folder: Path, pid: int | None) -> System:
        """Return the present state; loads are means since the last call."""
        memory = psutil.virtual_memory()
        free = None
        with suppress(OSError):
            free = float(psutil.disk_usage(str(folder)).free)
        return System(
            cpu=psutil.cpu_percent(None),
            cores=psutil.cpu_count() or 1,
            used=float(memory.total - memory.available),
            total=float(memory.total),
            free=free,
            trainer=self._trainer(pid),
            gpus=self._gpus(),
        )

    def _trainer(self, pid: int | None) -> tuple[float, float] | None:
        if not pid:
            return None
        with suppress(psutil.Error):
            if self._process is None or self._process.pid != pid:
                self._process = psutil.Process(pid)
                self._process.cpu_percent(None)
            return self._process.cpu_percent(None), float(self._process.memory_info().rss)
        return None

    def _gpus(self) -> tuple[Gpu, ...]:
        if self._nvml is None:
            return ()
        nvml = self._nvml
        with suppress(Exception):  # a driver can be unloaded
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            return tuple(self._gpu(nvml, handle) for handle in handles)
        return ()

    @staticmethod
    def _gpu(nvml: Any, handle: Any) -> Gpu:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        temperature = None
        with suppress(Exception):  # not every GPU has a sensor
            temperature = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        load = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return Gpu(load=load, used=float(memory.used), total=float(memory.total), temperature=temperature)


def draw_system(system: System, checkpoint_bytes: float, width: int, height: int, palette: Palette) -> Cells:
    """Draw the pane: one row per resource, the most important first."""
    cells = Cells(width, height, palette)
    cells.frame([("System", palette.ink("strong", bold=True))])
    for y, (name, share, text) in enumerate(_rows(system, checkpoint_bytes)[: height - 2], 1):
        cells.put(2, y, (name, palette.ink("text")))
        if share is None:
            low = name == "disk" and "low" in text
            cells.put(BAR_BEGIN, y, (text, palette.ink("bad" if low else "dim")), end=width - 1)
            continue
        colour = "bad" if share > 0.95 else "warn" if share > 0.85 else "L_C"
        draw_bar(cells, BAR_BEGIN, BAR_END, y, min(1.0, share), colour)
        cells.put(BAR_END + 1, y, (text, palette.ink("dim")), end=width - 1)
    return cells


def _rows(system: System, checkpoint_bytes: float) -> list[tuple[str, float | None, str]]:
    """Return name, used fraction (None: no bar) and text of each row."""
    rows: list[tuple[str, float | None, str]] = []
    for gpu in system.gpus[:MAX_GPUS]:
        rows.append(("GPU", gpu.load / 100, _gpu_load(gpu)))
        rows.append(("VRAM", gpu.used / max(1.0, gpu.total), _used_of(gpu.used, gpu.total)))
    if not system.total:
        return [("", None, "")]
    rows.append(("CPU", system.cpu / 100, f"{system.cpu:3.0f} % of {system.cores}"))
    rows.append(("mem", system.used / system.total, _used_of(system.used, system.total)))
    if system.trainer:
        rows.append(("run", None, f"{system.trainer[0]:.0f} % of a core, {format_bytes(system.trainer[1])}"))
    if system.free is not None:
        # the next two checkpoints have to fit
        low = ", low" if system.free < 2 * max(checkpoint_bytes, ASSUMED_CHECKPOINT_BYTES) else ""
        rows.append(("disk", None, f"{format_bytes(system.free)} free{low}"))
    return rows


def _gpu_load(gpu: Gpu) -> str:
    return f"{gpu.load:3.0f} %" + (f"  {gpu.temperature:.0f} °C" if gpu.temperature is not None else "")


def _used_of(used: float, total: float) -> str:
    return f"{format_bytes(used)} of {format_bytes(total)}"
