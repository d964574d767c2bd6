"""Load and memory of the machine: GPU, CPU, memory, disk, and the trainer's share."""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


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
