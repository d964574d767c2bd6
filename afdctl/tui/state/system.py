"""The machine: GPU, processor, memory and disk, and what the trainer takes of them."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Gpu:
    """Load and memory of a GPU: percent, bytes, degrees Celsius."""

    name: str
    load: float
    used: float
    total: float
    temperature: float | None


@dataclass(frozen=True)
class System:
    """Percent of all cores, bytes of memory and disk; `trainer` is its share of one core in percent and its memory."""

    cpu: float = 0.0
    cores: int = 1
    used: float = 0.0
    total: float = 0.0
    free: float | None = None
    trainer: tuple[float, float] | None = None
    gpus: tuple[Gpu, ...] = ()


class SystemMonitor:
    """Asks the system; what cannot be asked is left out."""

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self._nvml: Any = None
        # a machine without a driver says so in many ways, and another package of that name with a warning
        with suppress(Exception), warnings.catch_warnings(action="ignore"):
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
        psutil.cpu_percent(None)

    def look(self, folder: Path, pid: int | None) -> System:
        """The machine now; rates are over the time since the last look."""
        memory = psutil.virtual_memory()
        free = None
        with suppress(OSError):
            free = float(psutil.disk_usage(str(folder)).free)
        return System(
            psutil.cpu_percent(None),
            psutil.cpu_count() or 1,
            float(memory.total - memory.available),
            float(memory.total),
            free,
            self._trainer(pid),
            self._gpus(),
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
        with suppress(Exception):  # a driver that goes away takes its numbers with it
            return tuple(
                self._gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(at)) for at in range(nvml.nvmlDeviceGetCount())
            )
        return ()

    @staticmethod
    def _gpu(nvml: Any, handle: Any) -> Gpu:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        temperature = None
        with suppress(Exception):  # some have no sensor
            temperature = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        load = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        name = nvml.nvmlDeviceGetName(handle)
        return Gpu(str(name), load, float(memory.used), float(memory.total), temperature)
