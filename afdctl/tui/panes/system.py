"""The system pane: GPU, CPU, memory, trainer and disk, as short bars."""

from afdctl.formatting import format_bytes
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes.header import draw_bar
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.system import Gpu, System

BAR_BEGIN, BAR_END = 7, 17
MAX_GPUS = 2
# without a checkpoint to measure, one is assumed to have this many bytes
ASSUMED_CHECKPOINT_BYTES = 5e7


def draw(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw one row per resource, the most important first."""
    cells = Cells(width, height, palette)
    cells.frame([("System", palette.ink("strong", bold=True))])
    for y, (name, share, text) in enumerate(_rows(snapshot.system, snapshot.checkpoint_bytes)[: height - 2], 1):
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
